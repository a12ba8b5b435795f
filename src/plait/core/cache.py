"""The cache folder: what can be made again, and takes long enough to keep."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from plait.core.hashing import hash_json


def cache_root() -> Path:
    """``$PLAIT_CACHE``, or ``~/.cache/plait``."""
    return Path(os.environ.get("PLAIT_CACHE") or "~/.cache/plait").expanduser()


def kept_tables(
    name: str, made_of: Mapping[str, str], build: Callable[[], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """Arrays from the cache, or built and kept there.

    Args:
        name: What they are.
        made_of: All that decides them: versions, hashes of code.
        build: Makes them. Also called, and nothing kept, where the cache cannot be written.

    Example:
        >>> tables = kept_tables("squares", {"up to": "4"}, lambda: {"squares": np.arange(4) ** 2})
        >>> tables["squares"]
        array([0, 1, 4, 9])
    """
    path = cache_root() / "tables" / f"{name}-{hash_json(dict(made_of))[:16]}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        pass  # not there yet, or cut off: made again below
    tables = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False, suffix=".partial") as out:
            np.savez(out, allow_pickle=False, **tables)
        Path(out.name).replace(path)
    except OSError:
        pass  # a full or read-only disk costs time here, and nothing else
    return tables
