"""What ftfy looks at, as tables that compiled loops index: which lines it may change, and how the simple ones.

A line goes through ftfy only if it may hold mojibake. Whether it does is the matter of one regular expression over
classes of characters (``ftfy.badness.BADNESS_RE``); here its alternatives are the positions of a bit-parallel
automaton (Shift-And), each a little wider than the original where that saves positions. So a line that the automaton
passes is never one that ftfy finds bad.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, cast

import numpy as np

from plait.core.cache import kept_tables
from plait.core.hashing import hash_code
from plait.core.optional import require

Form = Literal["NFC", "NFKC", "NFD", "NFKD"]

SIMPLE, UNSTABLE, ASK, ENTITY = 1, 2, 4, 8
"""What a line needs: characters replaced one by one; the Unicode form restored; ftfy itself; entities resolved."""

_POINTS = sys.maxunicode + 1
_BASIC = 0x10000  # beyond, no character is in a category or replaced alone
_ASSIGNED = 0x34000  # beyond, no character has a decomposition or a combining class

# Categories by name, single characters as they are; leading ASCII letters and blanks are left out.
_RULES = r"""
bad lower_accented upper_accented box start_punctuation end_punctuation currency numeric law lower_common upper_common
  | bad
bad | lower_accented upper_accented box start_punctuation end_punctuation currency numeric law
lower_accented lower_common box end_punctuation currency numeric | upper_accented
box end_punctuation currency numeric | lower_accented
lower_accented box end_punctuation | currency
upper_accented box | numeric law °
lower_accented upper_accented box currency end_punctuation | start_punctuation | numeric
lower_accented upper_accented currency numeric box law | end_punctuation | start_punctuation
currency numeric box | start_punctuation
upper_accented | start_punctuation currency
box | kaomoji
lower_accented upper_accented currency numeric start_punctuation end_punctuation law | box
box | end_punctuation
lower_accented upper_accented | start_punctuation end_punctuation | WORD
Œœ | NO_LETTER
ÂÃÎÐ | €œŠš¢£Ÿž\xa0\xad®©°·»–—´ start_punctuation end_punctuation
× | ²³
ØÙ | common currency bad numeric start_punctuation ŸŠ®°µ» | ØÙ
à | ²µ¹¼½¾
√ | ±∂†≠®™´≤≥¥µø
≈ | °¢
‚ | Äâó | ìîïòôúùû†°¢πàäê
в | Ђ
ВГРС | bad start_punctuation end_punctuation currency °µ | ВГРС
Г | ў
ÃÂ | \x20\xa0¡ start_punctuation end_punctuation
βā | €
ΒΓΞΟ | bad start_punctuation end_punctuation currency ° | ΒΓΞΟ
"""


@dataclass(frozen=True)
class Tables:
    """Tables for one Unicode form.

    Args:
        kinds: Class of each code point, uint8 ``[1114112]``.
        needs: What a line with a character of a class needs, uint8 ``[256]``.
        masks: Positions of the automaton that a class may stand at, uint64 ``[256]``.
        start: First positions of the alternatives.
        end: Last positions of the alternatives.
        replacement: Number of the string put for each simple character, uint16 ``[65536]``.
        strings: UTF-8 of these strings, uint8.
        string_starts: Where each starts, int64 ``[strings + 1]``.
    """

    kinds: np.ndarray
    needs: np.ndarray
    masks: np.ndarray
    start: np.uint64
    end: np.uint64
    replacement: np.ndarray
    strings: np.ndarray
    string_starts: np.ndarray


@cache
def tables(form: Form) -> Tables:
    """The tables for a Unicode form: NFC, NFKC, NFD or NFKD; from the cache."""
    versions = {name: version(name) for name in ("ftfy",)}
    made_of = {"form": form, "python": sys.version, "code": hash_code(__name__), **versions}
    stored = kept_tables("mojibake", made_of, lambda: vars(_built(form)))
    # Scalars come back as arrays without dimensions.
    return Tables(**{name: cast("Any", array if array.ndim else array[()]) for name, array in stored.items()})


def _built(form: Form) -> Tables:
    masks, start, end = _automaton()
    unstable = _unstable(form)
    needs = np.where(unstable, np.uint8(UNSTABLE), np.uint8(0))
    needs[0x80:0xA0] |= ASK  # C1 controls are always mojibake
    needs[0x1B] |= ASK  # the start of terminal escapes
    replacement, strings = np.zeros(_BASIC, np.uint16), list[bytes]()
    for number, (code, text) in enumerate(_replacements().items()):
        needs[code] |= SIMPLE | (UNSTABLE if any(unstable[ord(c)] for c in text) else 0)
        replacement[code] = number
        strings.append(text.encode())
    seen = np.stack((masks, needs[:_BASIC].astype(np.uint64)), 1)
    far = [[masks[-1], 0], [masks[-1], UNSTABLE]]
    classes, basic = np.unique(np.concatenate((seen, np.array(far, np.uint64))), axis=0, return_inverse=True)
    basic = basic.reshape(-1)
    kinds = np.where(unstable, np.uint8(basic[-1]), np.uint8(basic[-2]))
    kinds[:_BASIC] = basic[:_BASIC]
    by_class = np.zeros((256, 2), np.uint64)
    by_class[: len(classes)] = classes  # more than 256 would not fit, and raise
    return Tables(
        kinds,
        by_class[:, 1].astype(np.uint8),
        by_class[:, 0].copy(),
        start,
        end,
        replacement,
        np.frombuffer(b"".join(strings), np.uint8),
        np.cumsum([0, *map(len, strings)], dtype=np.int64),
    )


def _automaton() -> tuple[np.ndarray, np.uint64, np.uint64]:
    """Positions each basic code point may stand at, uint64 ``[65536]``, and first and last ones of alternatives.

    The last code point, which is no character, stands for all that are not basic: words, for safety.
    """
    masks = np.zeros(_BASIC, np.uint64)
    start = end = position = 0
    for rule in _RULES.strip().replace("\n  ", " ").splitlines():
        start |= 1 << position
        for names in rule.split(" | "):
            for name in names.split(" "):
                masks[_members(name)] |= np.uint64(1 << position)  # numpy refuses a 65th position
            position += 1
        end |= 1 << (position - 1)
    return masks, np.uint64(start), np.uint64(end)


@cache
def _members(name: str) -> np.ndarray:
    """Basic code points of a category, or of the characters that stand there, bool ``[65536]``."""
    categories: dict[str, str] = require("ftfy.badness", extra="data", feature="fix_unicode_mapper").MOJIBAKE_CATEGORIES
    named = {"WORD": r"\w\uffff", "NO_LETTER": "^A-Za-z", **categories}
    found = re.compile(f"[{named.get(name, name)}]")
    members = np.zeros(_BASIC, np.bool_)
    members[[match.start() for match in found.finditer("".join(map(chr, range(_BASIC))))]] = True
    return members


def _replacements() -> dict[int, str]:
    """What ftfy makes of single characters: ligatures, widths, quotes, line breaks, control characters, in order."""
    data: Any = require("ftfy.chardata", extra="data", feature="fix_unicode_mapper")
    changed = dict[int, str]()
    for code in range(_BASIC):
        if 0xD800 <= code < 0xE000:
            continue
        text = chr(code).translate(data.LIGATURES).translate(data.WIDTH_MAP)
        text = data.SINGLE_QUOTE_RE.sub("'", data.DOUBLE_QUOTE_RE.sub('"', text))
        text = text.replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").translate(data.CONTROL_CHARS)
        if text != chr(code):
            changed[code] = text
    return changed


def _unstable(form: Form) -> np.ndarray:
    """Characters that a Unicode form may change, alone or with neighbours, bool ``[1114112]``.

    Any other has combining class 0, is its own normal form and never joins the character before it; a text of such
    characters is in normal form.
    """
    unstable = np.zeros(_POINTS, np.bool_)
    seconds = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # Hangul vowels and finals
    composed = list[int]()
    for code in range(0x80, _ASSIGNED):
        if 0xAC00 <= code < 0xE000:  # Hangul syllables and surrogates
            continue
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if parts:
            composed.append(code)
            if len(parts) == 2 and parts[0][0] != "<":
                seconds.add(int(parts[1], 16))
        elif not unicodedata.combining(character):
            continue
        unstable[code] = unicodedata.combining(character) != 0 or unicodedata.normalize(form, character) != character
    unstable[list(seconds)] = True
    for code in composed:
        unstable[code] |= unstable[ord(unicodedata.normalize("NFD", chr(code))[0])]
    if form in ("NFD", "NFKD"):
        unstable[0xAC00:0xD7A4] = True
    return unstable
