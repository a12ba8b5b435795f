"""YAML 1.2 with line numbers: ``no`` is a word, ``5e-5`` is a number, a key may stand only once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from plait.errors import RecipeError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Located:
    """Plain data and the line each key stands on.

    Args:
        data: Dictionaries, lists, texts, numbers, booleans and ``None`` only.
        source: The file's name, for messages.
        lines: Key path → line, from 1.
    """

    data: Any
    source: str
    lines: Mapping[KeyPath, int] = field(default_factory=dict[KeyPath, int])

    def where(self, *path: str | int) -> str:
        """``file:line`` of a key path, or of the innermost part of it that is in the file."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.source}:{self.lines[path[:end]]}"
        return f"{self.source}:1"


def load_yaml(path: Path) -> Located:
    """Read a YAML file.

    Raises:
        RecipeError: It cannot be read, is not UTF-8, or is not YAML; names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"the file cannot be read: {error.strerror}", code="recipe.unreadable", where=str(path)
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise RecipeError(
            f"byte {error.start} is not UTF-8 text",
            code="recipe.not-utf8",
            where=f"{path}:{line}",
            hint="save the file as UTF-8",
        ) from error
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> Located:
    r"""Parse YAML text; see `load_yaml`.

    Example:
        >>> located = parse_yaml("rate: 5e-5\nuse: no\n", source="x.yaml")
        >>> located.data, located.where("use")
        ({'rate': 5e-05, 'use': 'no'}, 'x.yaml:2')
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        # The pure-Python round-trip loader is the one that keeps line numbers.
        root = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error).splitlines()[0]
        hint = (
            "indent with spaces, not tabs"
            if "\\t" in problem
            else "check the indentation, quotes and colons here"
        )
        raise RecipeError(
            f"not valid YAML: {problem}",
            code="recipe.bad-yaml",
            where=f"{source}:{mark.line + 1}" if mark else source,
            hint="write the key once" if "duplicate key" in problem else hint,
        ) from error
    except YAMLError as error:
        raise RecipeError(
            f"not valid YAML: {str(error).splitlines()[0]}", code="recipe.bad-yaml", where=source
        ) from error
    lines: dict[KeyPath, int] = {(): 1}
    return Located(_plain(root, (), lines), source, lines)


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back equal."""
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000
    cast("Any", yaml).sort_base_mapping_type_on_output = False
    yaml.dump(data, out)
    return out.getvalue()


def parse_value(text: str) -> Any:
    """One YAML value, as typed on a command line.

    Example:
        >>> parse_value("5e-5"), parse_value("no"), parse_value("[1, 2]"), parse_value("")
        (5e-05, 'no', [1, 2], None)
    """
    return parse_yaml(text, source="command line").data


def _plain(node: Any, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Strip the loader's own types and note where each key stands."""
    if isinstance(node, dict):
        mapping = cast("Any", node)
        for key in mapping:
            lines[(*path, key)] = mapping.lc.key(key)[0] + 1
        return {_key(key): _plain(value, (*path, key), lines) for key, value in mapping.items()}
    if isinstance(node, list):
        sequence = cast("Any", node)
        for index in range(len(sequence)):
            lines[(*path, index)] = sequence.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(sequence)]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, dt.date):  # dates are words in YAML 1.2
        return node.isoformat()
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    if type(node).__name__ == "ScalarBoolean":
        return bool(node)
    return str(node)


def _key(key: Any) -> Any:
    return str(key) if isinstance(key, str) else key
