"""What makes two stages the same: the content of their inputs, their settings and seed, and the code behind them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any


def hash_path(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's relative names and their contents."""
    if path.is_file():
        with path.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    return hash_json({str(p.relative_to(path)): hash_path(p) for p in files_below(path)})


def files_below(folder: Path) -> Iterable[Path]:
    """Every file below a folder, sorted."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


def hash_json(value: Any) -> str:
    """SHA-256 of plain data, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def hash_code(module: str) -> str:
    """SHA-256 of a module's source and of every module of ``plait`` or of its own package that it leads to.

    Imports inside functions count, so work that loads its heavy parts late is covered too. Installed third-party
    packages are not: their versions stand in the run's ``env.json``.
    """
    ours = {"plait", module.split(".")[0]}
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sources or name.split(".")[0] not in ours:
            continue
        if (file := _source_file(name)) is not None:
            sources[name], imports = _source(file, file.stat().st_mtime_ns)
            waiting += imports
    return hash_json(sources)


@cache
def _source(file: Path, _changed: int) -> tuple[str, tuple[str, ...]]:
    """SHA-256 of a module's source and what it may import."""
    source = file.read_bytes()
    return hashlib.sha256(source).hexdigest(), tuple(_imports(source))


def _imports(source: bytes) -> Iterable[str]:
    """Modules a source may name: ``import a.b`` gives a.b; ``from a import b`` gives a and a.b.

    Found by pattern, which takes a twentieth of parsing and may take a line of a docstring for an import; too much is
    harmless here.
    """
    for match in _IMPORT.finditer(source.decode("utf-8", "replace")):
        plain, parent, names = match.groups()
        if plain:
            yield from _NAME.findall(plain)
        else:
            yield parent
            yield from (f"{parent}.{name}" for name in _NAME.findall(names))


_IMPORT = re.compile(
    r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+))", re.MULTILINE
)
_NAME = re.compile(r"[A-Za-z_][\w.]*")


@cache
def _source_file(module: str) -> Path | None:
    """The Python file of a module; ``None`` for what is no module or has no source. Imports nothing."""
    top, *rest = module.split(".")
    home = _package_file(top)
    if home is None or not rest:
        return home
    base = home.parent.joinpath(*rest)
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _package_file(top: str) -> Path | None:
    loaded = sys.modules.get(top)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        spec = importlib.util.find_spec(top)
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None
