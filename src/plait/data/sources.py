"""Real text that every machine has: the documentation inside the running Python's own standard library."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from plait.data.topics import topic_of
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.records import Document

_SKIPPED = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"})
_SOURCE = "python-docs"
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def python_documents(library: Path | None = None) -> Iterator[Document]:
    """The docstrings of the standard library's modules, classes and functions, and the language's help topics.

    Sources are parsed, never imported. Tests and installed packages are left out. ``id`` is the dotted name,
    such as ``asyncio.tasks.wait_for`` (a name defined twice gets ``#2``), ``group`` a topic of
    `plait.data.topics`.

    Args:
        library: Folder of the standard library; that of the running interpreter when not given.

    Yields:
        Documents in order of module and line: about 8,000 on CPython 3.11.

    Raises:
        DataError: No source is found there.
    """
    root = library or Path(sysconfig.get_path("stdlib"))
    found = False
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).parts):
        parts = path.relative_to(root).with_suffix("").parts
        if _SKIPPED.intersection(parts):
            continue
        tree = _parse(path)
        if tree is None:
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        seen = dict[str, int]()
        documented = _topics(tree) if module == "pydoc_data.topics" else _docstrings(tree, module)
        for name, text in documented:
            found = True
            seen[name] = seen.get(name, 0) + 1
            unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
            yield {"id": unique, "text": text, "source": _SOURCE, "group": topic_of(module)}
    if not found:
        raise DataError(
            "this Python comes without the sources of its standard library",
            code="data.no-python-docs",
            where=str(root),
            hint="give your own documents with input=FILE",
        )


def _parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        # A few files of the library are templates or deliberately broken; they hold no documentation.
        return None


def _docstrings(node: _Documented, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node)
    if text:
        yield name, text
    for child in _definitions(node):
        yield from _docstrings(child, f"{name}.{child.name}")


def _definitions(node: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Definitions directly in a scope, also below its ``if`` and ``try``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _definitions(child)


def _topics(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(statement.value)
            for name, text in sorted(topics.items()):
                yield f"topics.{name}", text.strip()
