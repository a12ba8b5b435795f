"""YAML 1.2 with line numbers: ``no`` is a word, ``5e-5`` is a number, a key may stand only once.

The file becomes plain dictionaries, lists, texts, numbers, booleans and ``None``; keys are always texts. Tags that
would build anything else are refused, and so are files that grow without bound through anchors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from plait.errors import RecipeError

KeyPath = tuple[str | int, ...]

_MOST_VALUES = 100_000
_STANDARD = "tag:yaml.org,2002:"
_HINT = "check the indentation, quotes and colons here"
_HINTS = {
    "\\t": "indent with spaces, not tabs",
    "but got '{'": 'inside [ ] and { } put "${…}" in quotes',
    "mapping values": 'put a text that holds ": " in quotes',
    "another document": "keep one recipe to a file",
    "undefined alias": "put a text that begins with * in quotes",
}


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

    def line(self, *path: str | int) -> int:
        """The line of a key path, or of the innermost part of it that is in the file."""
        return next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), 1)

    def where(self, *path: str | int) -> str:
        """``file:line`` of a key path."""
        return f"{self.source}:{self.line(*path)}"


def load_yaml(path: Path) -> Located:
    """Read a YAML file.

    Raises:
        RecipeError: It cannot be read, is not UTF-8, or is not YAML; names the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError(
            f"the file cannot be read: {error.strerror}",
            code="recipe.unreadable",
            where=str(path),
            hint="check the path and its permissions",
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
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
    from ruamel.yaml.reader import ReaderError

    reader = _Reader(source)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        data = None if root is None else reader.value(root, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context).splitlines()[0]
        hint = next((hint for part, hint in _HINTS.items() if part in problem), _HINT)
        _refuse(problem, source, mark.line + 1 if mark else 1, hint=hint)
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        _refuse(f"the character {chr(error.character)!r} is not allowed", source, line, hint="remove it")
    except (YAMLError, RecursionError) as error:
        problem = str(error).splitlines()[0] if isinstance(error, YAMLError) else "nested too deeply"
        _refuse(problem, source, 1, hint=_HINT)
    return Located(data, source, reader.lines)


def dump_yaml(data: Any) -> str:
    """Plain data as YAML that `parse_yaml` reads back equal.

    Example:
        >>> print(dump_yaml({"word": "no", "text": "5e-5", "rate": 5e-5}), end="")
        word: no
        text: '5e-5'
        rate: 5e-05
    """
    import io

    from ruamel.yaml import YAML

    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000
    cast("Any", yaml).sort_base_mapping_type_on_output = False
    # The same list twice is written twice, not once and as a reference to it.
    yaml.representer.ignore_aliases = lambda _data: True
    yaml.dump(data, out)
    return out.getvalue()


def parse_value(text: str) -> Any:
    """One YAML value, as typed on a command line.

    Example:
        >>> parse_value("5e-5"), parse_value("no"), parse_value("[1, 2]"), parse_value("")
        (5e-05, 'no', [1, 2], None)
    """
    return parse_yaml(text, source="command line").data


class _Reader:
    """Turns the loader's tree into plain data, and notes where each key stands."""

    def __init__(self, source: str) -> None:
        self.lines: dict[KeyPath, int] = {(): 1}
        self._source = source
        self._count = 0
        self._open: set[int] = set()

    def value(self, node: Any, path: KeyPath) -> Any:
        """The plain value of a node."""
        self._count += 1
        if self._count > _MOST_VALUES:
            self._refuse(f"more than {_MOST_VALUES} values", node, hint="do not nest anchors in anchors")
        kind = type(node).__name__
        if kind == "ScalarNode":
            return self._scalar(node)
        if id(node) in self._open:
            self._refuse("an anchor contains itself", node, hint="write the value out")
        self._open.add(id(node))
        try:
            if kind == "MappingNode" and node.tag == f"{_STANDARD}map":
                return self._mapping(node, path)
            if kind == "SequenceNode" and node.tag == f"{_STANDARD}seq":
                return self._sequence(node, path)
        finally:
            self._open.discard(id(node))
        return self._refuse(f"the tag {node.tag} is not allowed", node, hint="remove it")

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Any] = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_STANDARD}merge":
                merged += value_node.value if type(value_node).__name__ == "SequenceNode" else [value_node]
                continue
            if type(key_node).__name__ != "ScalarNode" or not key_node.value:
                self._refuse("a key is not a word", key_node, hint="write `key: value`")
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in found:
                self._refuse(
                    f'the key "{key}" stands twice, first on line {lines[key]}',
                    key_node,
                    code="duplicate-key",
                    hint="write it once",
                )
            lines[key] = self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key))
        for other in merged:
            if type(other).__name__ != "MappingNode":
                self._refuse("`<<` takes a mapping", other, hint="write `<<: *anchor`")
            # What the mapping says itself wins over what it takes from another.
            before = dict(self.lines)
            inherited = cast("dict[str, Any]", self.value(other, path))
            self.lines |= before
            found |= {key: value for key, value in inherited.items() if key not in found}
        return found

    def _sequence(self, node: Any, path: KeyPath) -> list[Any]:
        found: list[Any] = []
        for index, item in enumerate(node.value):
            self.lines[(*path, index)] = item.start_mark.line + 1
            found.append(self.value(item, (*path, index)))
        return found

    def _scalar(self, node: Any) -> Any:
        text, tag = str(node.value), str(node.tag).removeprefix(_STANDARD)
        try:
            match tag:
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    plain = text.replace("_", "")
                    return int(plain, 0 if plain.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
                case "float":
                    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
                case "str" | "timestamp" | "value" | "merge":  # dates and = are words in YAML 1.2
                    return text
                case _:
                    self._refuse(f"the tag {node.tag} is not allowed", node, hint="remove it")
        except (ValueError, KeyError):
            self._refuse(f"{text!r} is not a {tag}", node, hint="remove the tag")

    def _refuse(self, problem: str, node: Any, *, hint: str, code: str = "bad-yaml") -> NoReturn:
        _refuse(problem, self._source, node.start_mark.line + 1, hint=hint, code=code)


def _refuse(problem: str, source: str, line: int, *, hint: str, code: str = "bad-yaml") -> NoReturn:
    message = problem if code != "bad-yaml" else f"not valid YAML: {problem}"
    raise RecipeError(message, code=f"recipe.{code}", where=f"{source}:{line}", hint=hint) from None
