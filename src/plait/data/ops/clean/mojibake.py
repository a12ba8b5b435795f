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
from typing import Any

import numpy as np

from plait.core.optional import require

SIMPLE, UNSTABLE, ASK = 1, 2, 4
"""What a line needs: characters replaced one by one; the Unicode form restored; ftfy itself."""

_POINTS = sys.maxunicode + 1
_SIMPLE_POINTS = 0x10000  # ftfy replaces none beyond them one by one

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
def tables(form: str) -> Tables:
    """The tables for a Unicode form: NFC, NFKC, NFD or NFKD."""
    masks, start, end = _automaton()
    needs = np.zeros(_POINTS, np.uint8)
    unstable = _unstable(form)
    needs[unstable] |= UNSTABLE
    needs[0x80:0xA0] |= ASK  # C1 controls are always mojibake
    needs[0x1B] |= ASK  # the start of terminal escapes
    simple = _replacements()
    replacement, strings = np.zeros(_SIMPLE_POINTS, np.uint16), list[bytes]()
    for number, (code, text) in enumerate(simple.items()):
        needs[code] |= SIMPLE | (UNSTABLE if any(unstable[ord(c)] for c in text) else 0)
        replacement[code] = number
        strings.append(text.encode())
    pairs = np.stack((masks, needs.astype(np.uint64)), 1)
    classes, kinds = np.unique(pairs, axis=0, return_inverse=True)
    by_class = np.zeros((256, 2), np.uint64)
    by_class[: len(classes)] = classes  # more than 256 would not fit, and raise
    return Tables(
        kinds.reshape(-1).astype(np.uint8),
        by_class[:, 1].astype(np.uint8),
        by_class[:, 0].copy(),
        start,
        end,
        replacement,
        np.frombuffer(b"".join(strings), np.uint8),
        np.cumsum([0, *map(len, strings)], dtype=np.int64),
    )


def _automaton() -> tuple[np.ndarray, np.uint64, np.uint64]:
    """Positions each code point may stand at, uint64 ``[1114112]``, and the first and last of all alternatives."""
    masks = np.zeros(_POINTS, np.uint64)
    start = end = position = 0
    for rule in _RULES.strip().replace("\n  ", " ").splitlines():
        sets = rule.split(" | ")
        start |= 1 << position
        for names in sets:
            if position > 63:
                raise AssertionError("the automaton has 64 positions")
            for name in names.split(" "):
                masks[_members(name)] |= np.uint64(1 << position)
            position += 1
        end |= 1 << (position - 1)
    return masks, np.uint64(start), np.uint64(end)


def _members(name: str) -> np.ndarray:
    """Code points of a category, or of the characters that stand there."""
    categories: dict[str, str] = require("ftfy.badness", extra="data", feature="fix_unicode_mapper").MOJIBAKE_CATEGORIES
    members = np.zeros(_POINTS, np.bool_)
    if name == "WORD":
        members[:] = True
        members[:0x10000] = [re.match(r"\w", chr(c)) is not None for c in range(0x10000)]
    elif name == "NO_LETTER":
        members[:] = True
        members[[*range(0x41, 0x5B), *range(0x61, 0x7B)]] = False
    elif name in categories:
        found = re.compile(f"[{categories[name]}]")
        members[:0x10000] = [found.match(chr(c)) is not None for c in range(0x10000)]
    else:
        members[[ord(c) for c in name.replace(r"\xa0", "\xa0").replace(r"\xad", "\xad").replace(r"\x20", " ")]] = True
    return members


def _replacements() -> dict[int, str]:
    """What ftfy makes of single characters: ligatures, widths, quotes, line breaks, control characters, in order."""
    data: Any = require("ftfy.chardata", extra="data", feature="fix_unicode_mapper")
    changed = dict[int, str]()
    for code in range(_SIMPLE_POINTS):
        if 0xD800 <= code < 0xE000:
            continue
        text = chr(code).translate(data.LIGATURES).translate(data.WIDTH_MAP)
        text = data.SINGLE_QUOTE_RE.sub("'", data.DOUBLE_QUOTE_RE.sub('"', text))
        text = text.replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").translate(data.CONTROL_CHARS)
        if text != chr(code):
            changed[code] = text
    return changed


def _unstable(form: str) -> np.ndarray:
    """Characters that a Unicode form may change, alone or with neighbours, bool ``[1114112]``.

    Any other has combining class 0, is its own normal form and never joins the character before it; a text of such
    characters is in normal form.
    """
    unstable = np.zeros(_POINTS, np.bool_)
    seconds = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # Hangul vowels and finals
    for code in range(_POINTS):
        if 0xAC00 <= code < 0xD7A4 or 0xD800 <= code < 0xE000:
            continue
        character = chr(code)
        parts = unicodedata.decomposition(character).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(int(parts[1], 16))
        unstable[code] = unicodedata.combining(character) != 0 or unicodedata.normalize(form, character) != character
    unstable[list(seconds)] = True
    for code in range(0x80, _POINTS):
        if not 0xAC00 <= code < 0xE000 and unicodedata.decomposition(chr(code)):
            unstable[code] |= unstable[ord(unicodedata.normalize("NFD", chr(code))[0])]
    if form in ("NFD", "NFKD"):
        unstable[0xAC00:0xD7A4] = True
    return unstable
