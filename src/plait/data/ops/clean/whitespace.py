"""Mapper of blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from plait.data.characters import BLANK, classes
from plait.data.loops import compiled
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import strings
from plait.data.swar import HIGH, eight, equal, first, put_eight
from plait.data.utf8 import buffers, point, width

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch

_TAB, _SPACE = b"\t "


class WhitespaceNormalizationMapper(Mapper):
    r"""Strips the text and turns every kind of blank inside it into a space; newlines stay.

    Example:
        - whitespace_normalization_mapper

        >>> WhitespaceNormalizationMapper().rewrite_texts(["  one\ttwo\n"])
        ['one two']

    Source: Data-Juicer 1.6.1, ``whitespace_normalization_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    def rewrite(self, batch: Batch) -> pl.Series:
        """Strip, then replace: a zero-width blank at an end becomes a space that stays, as in Data-Juicer."""
        texts = batch.text(self.text_key)
        out, starts, changed = _normalise(*buffers(texts), classes())
        return strings(out, starts) if changed else texts


@compiled
def _is_blank(data: np.ndarray, i: int) -> bool:
    """Whether the character at ``i``, not an ASCII one, is of those that become a space."""
    b = data[i]
    if b == 0xC2:
        return data[i + 1] == 0x84 or data[i + 1] == 0xA0
    if b == 0xE2:
        c, d = data[i + 1], data[i + 2]
        # U+2000 to U+200D, U+202F, U+205F, U+2060
        return (c == 0x80 and (d <= 0x8D or d == 0xAF)) or (c == 0x81 and (d == 0x9F or d == 0xA0))
    if b == 0xE3:
        return data[i + 1] == 0x80 and data[i + 2] == 0x80
    return b == 0xEF and data[i + 1] == 0xBF and data[i + 2] == 0xBC


@compiled
def _normalise(data: np.ndarray, starts: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """A blank never takes more bytes as a space, so the result fits into as many bytes as there were."""
    out = np.empty(starts[-1] - starts[0] + 8, np.uint8)  # the last eight bytes written may be beyond the end
    out_starts = np.zeros(len(starts), np.int64)
    k = 0
    changed = False
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        while i < end and kinds[point(data, i)] & BLANK:
            i += width(data[i])
        while end > i:
            last = end - 1
            while (data[last] & 0xC0) == 0x80:
                last -= 1
            if not kinds[point(data, last)] & BLANK:
                break
            end = last
        changed |= end - i != starts[d + 1] - starts[d]
        while i < end:
            if i + 8 <= len(data):
                x = eight(data, i)
                put_eight(out, k, x)
                marks = equal(x, _TAB) | (x & HIGH)
                # A step of eight that is guessed lets the processor go on before it has looked.
                run = end - i if marks == 0 else min(first(marks), end - i)
                if run >= 8:
                    i += 8
                    k += 8
                    continue
                i += run
                k += run
                if i == end:
                    continue
            b = data[i]
            if b == _TAB:
                out[k] = _SPACE
                changed = True
            elif b >= 0x80 and _is_blank(data, i):
                out[k] = _SPACE
                changed = True
                i += width(b) - 1
            else:
                out[k] = b
            i += 1
            k += 1
        out_starts[d + 1] = k
    return out[:k], out_starts, changed
