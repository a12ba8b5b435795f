"""Lines of texts: their hashes, which of them are exempt, and which stand in many texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
import pyarrow as pa

from plait.data import characters
from plait.data.dedup.tokens import distinct
from plait.data.loops import compiled
from plait.data.utf8 import buffers, point, width

if TYPE_CHECKING:
    from plait.data.op import Rows

_OFFSET = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(32)
# Blanks but the line feed, digits and punctuation.
_SPECIAL = r"[\s\x1c-\x1f\d!-/:-@\[-`{-~&&[^\n]]+"
_BEGIN, _END = np.frombuffer(b"\\begin{", np.uint8), np.frombuffer(b"\\end{", np.uint8)
_MOST_PARTS = 64


@dataclass(frozen=True)
class LineRules:
    """How lines are compared, and which are left alone.

    Args:
        lowercase: Whether case is ignored.
        ignore_special: Whether blanks, digits and punctuation are.
        shortest: Shorter lines are exempt, characters without blanks around them.
        brackets: Whether lines of brackets and semicolons alone are exempt.
        headers: Whether Markdown headers are.
        latex: Whether the begin and end of a LaTeX environment are.
        tags: Whether lines that are one HTML tag are.
    """

    lowercase: bool = False
    ignore_special: bool = False
    shortest: int = 2
    brackets: bool = True
    headers: bool = True
    latex: bool = True
    tags: bool = True

    def hashes(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """A hash of each line, uint64 ``[lines]``, 0 for those exempt, and where each text starts ``[texts + 1]``."""
        rules = np.array([self.brackets, self.headers, self.latex, self.tags])
        found, exempt, starts = _hash_lines(*buffers(texts), characters.classes(), self.shortest, rules)
        if self.lowercase or self.ignore_special:
            compared = texts.str.to_lowercase() if self.lowercase else texts
            if self.ignore_special:
                compared = compared.str.replace_all(_SPECIAL, "")
            found, _, again = _hash_lines(*buffers(compared), characters.classes(), 0, np.zeros(4, np.bool_))
            assert np.array_equal(starts, again)  # nothing that is left out or lowered is a line feed
        found[exempt] = 0
        return found, starts

    def sets(self, texts: pl.Series) -> pl.Series:
        """The distinct lines of each text that are not exempt: a list of hashes each."""
        found, starts = self.hashes(texts)
        plain = found != 0
        counted = np.zeros(len(found) + 1, np.int64)
        np.cumsum(plain, out=counted[1:])
        values, at = distinct(found[plain], counted[starts])
        lists = pa.LargeListArray.from_arrays(pa.array(at), pa.array(values))
        return cast("pl.Series", pl.from_arrow(lists))

    def without(self, texts: pl.Series, frequent: np.ndarray) -> pl.Series:
        """The texts without some lines.

        Args:
            texts: All texts.
            frequent: Hashes of those lines, uint64, ascending.
        """
        found, _ = self.hashes(texts)
        gone = _among(found, frequent) & (found != 0)
        if not gone.any():
            return texts
        data, at = _without(*buffers(texts), gone)
        made = pa.Array.from_buffers(pa.large_string(), len(texts), [None, pa.py_buffer(at), pa.py_buffer(data)])
        return cast("pl.Series", pl.from_arrow(made)).alias(texts.name)


def frequent_lines(rows: Rows, name: str, most: int) -> np.ndarray:
    """Hashes of lines that stand in more than ``most`` rows, uint64, ascending.

    Where those of all rows do not fit into memory, one range of hashes is counted after the other.
    """
    total = sum(sum(map(len, part)) for _, part in rows.parts(name))
    parts = min(_MOST_PARTS, max(1, -(-total * 24 // max(rows.memory_bytes, 1))))
    edges = [(part << 64) // parts for part in range(parts + 1)]
    found = [np.zeros(0, np.uint64)]
    for low, high in pairwise(edges):
        values = np.concatenate([np.zeros(0, np.uint64), *_inside(rows, name, low, high - 1)])
        lines, counts = np.unique(values, return_counts=True)
        found.append(lines[counts > most])
    return np.concatenate(found)


def _inside(rows: Rows, name: str, low: int, high: int) -> Iterator[np.ndarray]:
    for _, part in rows.parts(name):
        values = np.concatenate([np.zeros(0, np.uint64), *part]).astype(np.uint64)
        yield values[(values >= np.uint64(low)) & (values <= np.uint64(high))]


def _among(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return ascending[at] == values


@compiled
def _hash_lines(
    data: np.ndarray, starts: np.ndarray, classes: np.ndarray, shortest: int, rules: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(starts) - 1
    count = n
    for i in range(starts[0], starts[n]):
        count += data[i] == 10
    hashes, exempt = np.empty(count, np.uint64), np.zeros(count, np.bool_)
    at = np.zeros(n + 1, np.int64)
    k = 0
    for d in range(n):
        begin = starts[d]
        while True:
            end = begin
            while end < starts[d + 1] and data[end] != 10:
                end += 1
            a, b = _stripped(data, begin, end, classes)
            h = _OFFSET
            for i in range(a, b):
                h = (h ^ np.uint64(data[i])) * _PRIME
            h = (h ^ (h >> _SHIFT)) * _MIX
            hashes[k] = max(h ^ (h >> _SHIFT), np.uint64(1))
            exempt[k] = _exempt(data, a, b, shortest, rules)
            k += 1
            if end == starts[d + 1]:
                break
            begin = end + 1
        at[d + 1] = k
    return hashes, exempt, at


@compiled
def _without(data: np.ndarray, starts: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texts without some of their lines, and where each starts."""
    n = len(starts) - 1
    out, at = np.empty(starts[n] - starts[0], np.uint8), np.zeros(n + 1, np.int64)
    k = line = 0
    for d in range(n):
        begin, first = starts[d], True
        for i in range(starts[d], starts[d + 1] + 1):
            if i < starts[d + 1] and data[i] != 10:
                continue
            if not gone[line]:
                if not first:
                    out[k] = 10
                    k += 1
                out[k : k + i - begin] = data[begin:i]
                k += i - begin
                first = False
            line += 1
            begin = i + 1
        at[d + 1] = k
    return out[:k].copy(), at


@compiled
def _stripped(data: np.ndarray, begin: int, end: int, classes: np.ndarray) -> tuple[int, int]:
    """Where a line begins and ends without blanks around it."""
    while begin < end and (classes[point(data, begin)] & 8):
        begin += width(data[begin])
    while end > begin:
        last = end - 1
        while last > begin and (data[last] & 0xC0) == 0x80:
            last -= 1
        if not classes[point(data, last)] & 8:
            break
        end = last
    return begin, end


@compiled
def _exempt(data: np.ndarray, a: int, b: int, shortest: int, rules: np.ndarray) -> bool:
    chars = 0
    i = a
    while i < b and chars < shortest:
        i += width(data[i])
        chars += 1
    if chars < shortest:
        return True
    if rules[0]:
        only = True
        for i in range(a, b):
            c = data[i]
            if not (c == 123 or c == 125 or c == 91 or c == 93 or c == 40 or c == 41 or c == 59):
                only = False
                break
        if only:
            return True
    if a == b:
        return False
    if rules[1] and data[a] == 35:
        return True
    if rules[2] and (_opens(data, a, b, _BEGIN) or _opens(data, a, b, _END)):
        return True
    return rules[3] and data[a] == 60 and _tag(data, a + 1, b)


@compiled
def _opens(data: np.ndarray, a: int, b: int, what: np.ndarray) -> bool:
    if b - a < len(what):
        return False
    for i in range(len(what)):  # noqa: SIM110 - compiled code knows no generators
        if data[a + i] != what[i]:
            return False
    return True


@compiled
def _tag(data: np.ndarray, i: int, b: int) -> bool:
    """Whether what follows ``<`` is a name, and the tag ends with the line or is left open."""
    if i < b and data[i] == 47:
        i += 1
    if i >= b:
        return False
    low = data[i] | 32
    # Case aside, the long s and the sign of Kelvin are letters between a and z, too.
    odd = (data[i] == 0xC5 and data[i + 1] == 0xBF) or (data[i] == 0xE2 and data[i + 1] == 0x84 and data[i + 2] == 0xAA)
    if not (97 <= low <= 122 and data[i] < 0x80) and not odd:
        return False
    for j in range(i, b - 1):  # noqa: SIM110 - compiled code knows no generators
        if data[j] == 62:
            return False
    return True
