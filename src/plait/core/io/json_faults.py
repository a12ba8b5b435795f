"""What is wrong with a line that is no JSON, in words: Python writes some things that JSON does not have."""

from __future__ import annotations

import json

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
