"""Which models can be loaded at once, and making one ready: what `plait models ls` and `get` show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from plait.core.catalog import table
from plait.errors import ModelError
from plait.models.gguf import converted_folder, is_converted
from plait.models.language_model import download, local_folder
from plait.models.source import ModelSource, packaged, resolve


@dataclass(frozen=True)
class ModelState:
    """One model on this machine.

    Args:
        name: As it is loaded.
        state: ``ready``, ``installed`` (converted at the first load) or ``absent``; from `get_model` what was done.
        size: On disk, for people; empty if absent.
        size_bytes: On disk; 0 if absent.
        path: The folder or file; empty if absent.
        summary: What it is, or how to get it.
    """

    name: str
    state: str
    size: str
    size_bytes: int
    path: str
    summary: str


def list_models() -> list[ModelState]:
    """Every model known by name, sorted."""
    return [_state(name) for name in sorted(table("model"))]


def get_model(name: str) -> ModelState:
    """Make a model ready, so that loading it needs neither network nor conversion.

    A known name whose package is not installed is fetched from the Hugging Face Hub.

    Raises:
        ModelError: It cannot be found, fetched or converted.
        MissingExtra: torch or transformers is not installed, and a conversion needs them.
    """
    source = _resolve_or_hub(name)
    if source.kind in ("packaged-gguf", "gguf"):
        assert source.path is not None
        done = "was ready" if is_converted(source.path) else "converted"
    else:
        done = "was ready" if source.path is not None else "downloaded"
    return _describe(name, done, local_folder(source), _summary(name))


def _resolve_or_hub(name: str) -> ModelSource:
    try:
        return resolve(name)
    except ModelError as error:
        if error.code != "model.not-installed":
            raise
    hub = packaged(name).hub
    return ModelSource(hub, "hub", download(hub))


def _state(name: str) -> ModelState:
    try:
        source = resolve(name)
    except ModelError as error:
        return ModelState(name, "absent", "", 0, "", error.hint or error.message)
    if source.path is None:
        return ModelState(name, "absent", "", 0, "", _summary(name))
    if source.kind == "packaged-gguf":
        if is_converted(source.path):
            return _describe(name, "ready", converted_folder(source.path), _summary(name))
        return _describe(name, "installed", source.path, _summary(name))
    return _describe(name, "ready", source.path, _summary(name))


def _describe(name: str, state: str, path: Path, summary: str) -> ModelState:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    return ModelState(name, state, f"{size / 1e6:.0f} MB", size, str(path), summary)


def _summary(name: str) -> str:
    entry = table("model").get(name)
    return entry.summary if entry else ""
