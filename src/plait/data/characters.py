"""What each character is: a letter, a digit, special, a blank, the end of a line; and its lower case.

As Python's ``str`` methods say, for every code point, in tables that compiled loops index.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from plait.core.cache import kept_tables
from plait.core.hashing import hash_code
from plait.data.special import special_points

if TYPE_CHECKING:
    from collections.abc import Mapping

ALNUM, ALPHA, SPECIAL, BLANK, LINE_END, CONTEXT = 1, 2, 4, 8, 16, 32
"""Bits of `classes`. CONTEXT marks characters whose lower case is not one character that depends on them alone."""

_LINE_ENDS = (*range(0x0A, 0x0E), *range(0x1C, 0x1F), 0x85, 0x2028, 0x2029)
_POINTS = sys.maxunicode + 1
_LETTERS = 0x34000  # beyond it no character is a letter, a digit, a blank or has another case


def classes() -> np.ndarray:
    """Bits of every code point, uint8 ``[1114112]``."""
    return _tables()["classes"]


def lower() -> np.ndarray:
    """Lower case of every code point, int32 ``[1114112]``; not meant for those of `CONTEXT`."""
    return _tables()["lower"]


@cache
def _tables() -> Mapping[str, np.ndarray]:
    """Both from the cache: asking for every code point takes a twentieth of a second."""
    made_of = {"unicode": unicodedata.unidata_version, "code": hash_code(__name__)}
    return kept_tables("characters", made_of, lambda: {"classes": _classes(), "lower": _lower()})


def _classes() -> np.ndarray:
    out = np.zeros(_POINTS, np.uint8)
    for bit, test in ((ALNUM, str.isalnum), (ALPHA, str.isalpha), (BLANK, str.isspace)):
        out[:_LETTERS] |= np.fromiter(map(test, map(chr, range(_LETTERS))), np.uint8, _LETTERS) * np.uint8(bit)
    out[list(special_points())] |= SPECIAL
    out[list(_LINE_ENDS)] |= LINE_END
    out[[0x130, 0x3A3]] |= CONTEXT
    return out


def _lower() -> np.ndarray:
    out = np.arange(_POINTS, dtype=np.int32)
    lowered = map(str.lower, map(chr, range(_LETTERS)))
    out[:_LETTERS] = np.fromiter((ord(low) if len(low) == 1 else 0 for low in lowered), np.int32, _LETTERS)
    return out


@cache
def special() -> str:
    """All special characters."""
    return "".join(map(chr, special_points()))
