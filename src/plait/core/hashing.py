"""What makes two stages the same: the content of their inputs, their settings and seed, and the code behind them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
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
        file = _source_file(name) if name.split(".")[0] in ours else None
        if file is not None and name not in sources:
            source = file.read_bytes()
            sources[name] = hashlib.sha256(source).hexdigest()
            waiting += _imports(source)
    return hash_json(sources)


def _imports(source: bytes) -> Iterable[str]:
    """Modules a source may name: ``import a.b`` gives a.b; ``from a import b`` gives a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _source_file(module: str) -> Path | None:
    """The Python file of a module; ``None`` for what is no module or has no source."""
    loaded = sys.modules.get(module)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # the parent is a plain module, so the name is something inside it
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None
