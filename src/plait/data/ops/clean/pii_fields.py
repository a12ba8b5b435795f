"""Which strings of a row's other fields are redacted: those of conversations, and paths and arguments anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import polars as pl

if TYPE_CHECKING:
    from plait.data.batch import Batch

_PATHS = frozenset({"file_path", "path", "file", "arguments", "file_paths"})

Place = tuple[Any, Any]
"""A list or dict, and the index or key of a string in it."""


def redact_fields(
    batch: Batch, keys: list[str], messages_key: str | None, text_key: str, redact: Callable[[pl.Series], pl.Series]
) -> Batch:
    """The batch with the strings of all fields but the text redacted."""
    for name, dtype in batch.frame.schema.items():
        wanted = name in keys
        if name == text_key or name.startswith("__"):
            continue
        if dtype == pl.String:
            if wanted or name in _PATHS:
                batch = batch.with_text(name, redact(batch.column(name)))
        elif isinstance(dtype, pl.List | pl.Struct):
            values = batch.column(name).to_list()
            holder = {name: values}
            places = list[Place]()
            for value in values:
                if wanted and name == messages_key and isinstance(value, list):
                    places += _in_messages(cast("list[Any]", value))
                elif wanted and isinstance(value, list):
                    places += _in_pairs(cast("list[Any]", value), name == "dialog_history")
                places += _anywhere(value)
            # A string may be found by two rules; as in Data-Juicer, the placeholders are redacted again to no effect.
            old = pl.Series([container[key] for container, key in places], dtype=pl.String)
            for (container, key), text in zip(places, redact(old).to_list(), strict=True):
                container[key] = text
            batch = batch.with_column(name, pl.Series(name, holder[name], dtype=dtype))
    return batch


def _strings(container: Any, keys: Any) -> Iterator[Place]:
    return ((container, key) for key in keys if isinstance(container[key], str))


def _in_pairs(value: list[Any], history: bool) -> Iterator[Place]:
    """A dialogue as a list of (query, response), or one such pair."""
    if history:
        for pair in value:
            if isinstance(pair, list) and len(cast("list[Any]", pair)) >= 2:
                yield from _strings(pair, (0, 1))
    elif len(value) == 2:
        yield from _strings(value, (0, 1))


def _in_messages(messages: list[Any]) -> Iterator[Place]:
    """What was said, and the arguments of the tools that were called."""
    for message in messages:
        if not isinstance(message, dict):
            continue
        fields = cast("dict[str, Any]", message)
        content = fields.get("content")
        if isinstance(content, str):
            yield fields, "content"
        elif isinstance(content, list):
            blocks = cast("list[Any]", content)
            for i, block in enumerate(blocks):
                if isinstance(block, str):
                    yield blocks, i
                elif isinstance(block, dict):
                    yield from _strings(block, [key for key in ("text", "content") if key in block])
        for key in ("tool_calls", "tool_use"):
            for call in cast("list[Any]", fields.get(key) or []):
                if not isinstance(call, dict):
                    continue
                called = cast("dict[str, Any]", call)
                for holder in (called.get("function") or called.get("function_call"), called):
                    if isinstance(holder, dict) and isinstance(cast("dict[str, Any]", holder).get("arguments"), str):
                        yield holder, "arguments"


def _anywhere(value: Any) -> Iterator[Place]:
    """Strings called like a path, and all strings in lists."""
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if isinstance(inner, str):
                if key in _PATHS:
                    yield value, key
            else:
                yield from _anywhere(inner)
    elif isinstance(value, list):
        items = cast("list[Any]", value)
        for i, item in enumerate(items):
            if isinstance(item, str):
                yield items, i
            else:
                yield from _anywhere(item)
