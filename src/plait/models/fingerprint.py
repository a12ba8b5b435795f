"""The content hash of a model's files, remembered so that gigabytes are read once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from plait.core.cache import cache_root

_CONTENT = (".safetensors", ".bin", ".json", ".gguf", ".jinja", ".txt", ".model")
"""What decides a model's answers: weights, configuration, tokenizer, chat template."""


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, or of a model folder's names and contents.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as empty:
        ...     file_sha256(Path(empty.name))[:8]
        'e3b0c442'
    """
    if path.is_file():
        return _remembered_sha256(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and p.suffix in _CONTENT)
    listing = [(p.name, _remembered_sha256(p)) for p in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _remembered_sha256(path: Path) -> str:
    path = path.resolve()
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
    note = cache_root() / "fingerprints" / (hashlib.sha256(str(path).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(note.read_bytes())
        if known["stamp"] == stamp:
            return str(known["sha256"])
    digest = file_sha256(path)
    # The note only saves time: a cache that cannot be written must not stop a model that can be read.
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_name(f"{note.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"stamp": stamp, "sha256": digest}), encoding="utf-8")
        temporary.replace(note)
    return digest
