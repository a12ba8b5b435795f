"""A GGUF file becomes, once, a folder of safetensors that every library loads.

    $PLAIT_CACHE/models/<hash of the file>/   config.json · model.safetensors · tokenizer.json · plait.json …

`transformers` can read GGUF itself, but takes many seconds each time and marks the model as quantised, which trainers
and peft then refuse. The folder appears by one rename, under a lock: a killed conversion leaves nothing that looks
finished, and two processes convert once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.core.cache import cache_root
from plait.errors import ModelError
from plait.models.fingerprint import fingerprint
from plait.models.quiet import quiet_loading

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LAYOUT = 1
"""Raised whenever a conversion would write something else, so that old folders are not used."""

_DIGITS_APART = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})
"""GGUF pre-tokenizers that split every digit off before the GPT-2 rule; `transformers` drops that step when it reads
GGUF, which changes the tokens of spaces and newlines before numbers (numbered lists above all)."""


def converted_folder(file: Path) -> Path:
    """Where the converted form of a GGUF file is, or will be."""
    key = hashlib.sha256(f"{fingerprint(file)}/{_LAYOUT}".encode()).hexdigest()[:32]
    return cache_root() / "models" / key


def is_converted(file: Path) -> bool:
    """Whether `convert` has nothing to do."""
    return _is_whole(converted_folder(file))


def convert(file: Path) -> Path:
    """The folder with the model in a GGUF file as float32 safetensors; made now if it is not there.

    Raises:
        ModelError: The file is damaged or of an unknown architecture, or the cache cannot be written.
    """
    from filelock import FileLock

    folder = converted_folder(file)
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not _is_whole(folder):
                _convert_into(file, folder)
    except OSError as error:
        raise ModelError(
            f"the converted model cannot be written: {error.strerror or error}",
            code="model.cache-unwritable",
            where=str(folder.parent),
            hint="free some disk space, or set PLAIT_CACHE to a folder that can be written",
        ) from error
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds every file that was written, at full size."""
    try:
        sizes = json.loads((folder / "plait.json").read_bytes())["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def _convert_into(file: Path, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model, tokenizer = _read(file)
    partial.mkdir()
    with quiet_loading():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    files = {p.name: p.stat().st_size for p in sorted(partial.iterdir())}
    (partial / "plait.json").write_text(json.dumps({"from": file.name, "files": files}, indent=1), encoding="utf-8")
    for path in partial.iterdir():
        _sync(path)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    _sync(folder.parent)


def _read(file: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer in a GGUF file, free of any trace of quantisation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    except (ValueError, KeyError, IndexError, OverflowError, RuntimeError, OSError, struct.error) as error:
        raise ModelError(
            f"the GGUF file cannot be read: {str(error).strip().splitlines()[0] if str(error).strip() else error!r}",
            code="model.unreadable",
            where=str(file),
            hint="fetch it again if the download was cut short; transformers may also not know its architecture",
        ) from error
    _split_digits(tokenizer, file)
    config = read.config
    vars(config).pop("quantization_config")
    with torch.device("meta"):
        model = type(read)(config)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    model.generation_config = read.generation_config
    return model, tokenizer


def _split_digits(tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    from gguf.gguf_reader import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() in _DIGITS_APART:
        backend: Any = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
