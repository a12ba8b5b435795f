"""What is wrong with a line that is no JSON, in words: Python writes some things that JSON does not have."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

_KEY = re.compile(rb'"\s*:')
_LONG_NUMBER = re.compile(rb"\d{19}")
_TOO_DEEP = "not JSON: nested too deep"
_TOO_LARGE = "not JSON: a number too large for 64 bits"


def why_unreadable(line: bytes, *, otherwise: str) -> str:
    """What is wrong with bytes that should be text.

    Args:
        line: The bytes.
        otherwise: The answer if they are text.
    """
    if b"\0" in line:
        return "NUL byte"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    return otherwise


def why_not_json(line: bytes) -> str:
    r"""Why a strict parser refuses a line; lines are counted by it, so it holds no values.

    Example:
        >>> why_not_json(b'{"score": NaN}'), why_not_json(rb'{"text": "\ud83d"}'), why_not_json(b'{"text": "on')
        ('not JSON: NaN or Infinity', 'not JSON: half of a surrogate pair', 'not JSON')
    """
    reason = why_unreadable(line, otherwise="")
    if reason:
        return reason
    if line.startswith(b"\xef\xbb\xbf"):
        return "not JSON: a byte order mark inside the file"
    constants = list[str]()
    try:
        value = json.loads(line, parse_constant=constants.append)
    except RecursionError:
        return _TOO_DEEP
    except json.JSONDecodeError:
        return "not JSON"
    except ValueError:  # an integer of thousands of digits
        return _TOO_LARGE
    if constants:
        return "not JSON: NaN or Infinity"
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return _TOO_DEEP
    except ValueError:
        return _TOO_LARGE
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not JSON: half of a surrogate pair"
    return "not JSON"


def altered_by_parsing(line: bytes, record: Mapping[str, Any], names: Collection[str] | None = None) -> str | None:
    """What a parser did not keep of a record, if anything: all but the last of equal keys, digits of long integers.

    Args:
        line: The record as it stands in the file.
        record: What the parser made of it.
        names: Fields in which integers matter; all when not given.

    Example:
        >>> altered_by_parsing(b'{"a": 1, "a": 2}', {"a": 2}), altered_by_parsing(b'{"a": ":"}', {"a": ":"})
        ('a key stands twice', None)
    """
    # A quote and a colon end each key, and may stand in texts too: more of them than keys need a second look.
    if len(_KEY.findall(line)) <= _keys_in(record) and not _LONG_NUMBER.search(line):
        return None
    repeated = list[str]()

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(given)
        if len(fields) < len(given):
            repeated.append("a key stands twice")
        return fields

    try:
        exact: dict[str, Any] = json.loads(line, object_pairs_hook=pairs)
    except RecursionError:
        return _TOO_DEEP
    looked_at = [value for name, value in exact.items() if names is None or name in names]
    long = any(type(one) is int and not -(2**63) <= one < 2**64 for one in _leaves(looked_at))
    return repeated[0] if repeated else "an integer of more than 64 bits" if long else None


def _keys_in(record: Mapping[str, Any]) -> int:
    return sum(len(one) for one in _nested([record]) if isinstance(one, dict))


def _leaves(values: list[Any]) -> Iterator[Any]:
    for one in _nested(values):
        yield from one.values() if isinstance(one, dict) else one


def _nested(values: list[Any]) -> Iterator[dict[str, Any] | list[Any]]:
    """The values, as a list, and all lists and objects inside of them."""
    level: list[Any] = [values]
    while level:
        yield from level
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for values in inside for one in values if type(one) in (dict, list)]
