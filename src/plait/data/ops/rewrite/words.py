"""Mappers that drop words: what is left is put together with single separators."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from plait.data.characters import SPECIAL, classes
from plait.data.loops import compiled
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import strings
from plait.data.utf8 import buffers, point, starts_of, width

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch
    from plait.data.ops.filters.pieces import PieceModel


class RemoveLongWordsMapper(Mapper):
    """Drops words that are too short or too long, and repeated separators.

    A word that is too long stays if it is not without the special characters around it.

    Example:
        - remove_long_words_mapper: {min_len: 1, max_len: 20}

        >>> RemoveLongWordsMapper(max_len=4).rewrite_texts(["some  words stay"])
        ['some stay']

    Source: Data-Juicer 1.6.1, ``remove_long_words_mapper``.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    min_len: int = 1
    """Shortest word kept, in characters."""
    max_len: int = sys.maxsize
    """Longest word kept, in characters."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """One compiled pass."""
        data, starts = buffers(batch.text(self.text_key))
        return strings(*_drop_by_length(data, starts, classes(), self.min_len, self.max_len))


class RemoveWordsWithIncorrectSubstringsMapper(Mapper):
    """Drops words that hold certain strings, and repeated separators.

    The special characters around a word do not count.

    Example:
        - remove_words_with_incorrect_substrings_mapper: {substrings: [http, www]}

        >>> RemoveWordsWithIncorrectSubstringsMapper().rewrite_texts(["see http://example.org now"])
        ['see now']

    Source: Data-Juicer 1.6.1, ``remove_words_with_incorrect_substrings_mapper``. Differs: with ``tokenization``
    the SentencePiece model is a file that you name or the one Data-Juicer left on this machine, never a download.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    lang: str = "en"
    """Language of the SentencePiece model."""
    tokenization: bool = False
    """Take the pieces of a SentencePiece model for words, and put them together without separators."""
    substrings: list[str] | None = None
    """Strings that words must not hold; ``null`` for http, www, .com, href and //."""
    sentencepiece_model: str | None = None
    """With ``tokenization``: the model's file; by default Data-Juicer's own copy for ``lang``, where it left one."""

    def ready(self) -> None:
        """Looks for the SentencePiece model."""
        if self.tokenization:
            self._model().ready()

    def rewrite(self, batch: Batch) -> pl.Series:
        """One compiled pass; with ``tokenization``, Python for each text."""
        texts = batch.text(self.text_key)
        unwanted = ["http", "www", ".com", "href", "//"] if self.substrings is None else self.substrings
        if self.tokenization:
            from plait.data.ops.rewrite.pieces import without_pieces

            return without_pieces(self._model(), batch, self.text_key, unwanted)
        needles = [needle.encode() for needle in unwanted]
        joined = np.frombuffer(b"".join(needles), np.uint8)
        at = starts_of(np.array([len(needle) for needle in needles], np.int64))
        first = np.zeros(256, np.bool_)
        first[[needle[0] for needle in needles if needle]] = True
        if any(not needle for needle in needles):
            first[:] = True
        data, starts = buffers(texts)
        return strings(*_drop_by_substring(data, starts, classes(), joined, at, first))

    def _model(self) -> PieceModel:
        from plait.data.ops.filters.pieces import piece_model

        return piece_model(self.sentencepiece_model, self.lang)


@compiled
def _put(out: np.ndarray, k: int, empty: bool, between: int, data: np.ndarray, start: int, end: int) -> int:
    """A word that stays, after the strongest separator since the last one."""
    if not empty:
        out[k] = 32 if between == 0 else (9 if between == 1 else 10)
        k += 1
    for j in range(start, end):
        out[k] = data[j]
        k += 1
    return k


@compiled
def _drop_by_length(
    data: np.ndarray, starts: np.ndarray, kinds: np.ndarray, least: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty(starts[-1] - starts[0], np.uint8)
    out_starts = np.zeros(len(starts), np.int64)
    k = 0
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        begin, between = k, 0
        while i < end:
            b = data[i]
            if b == 32 or b == 9 or b == 10:
                between = max(between, 0 if b == 32 else (1 if b == 9 else 2))
                i += 1
                continue
            start, length = i, 0
            while i < end and data[i] != 32 and data[i] != 9 and data[i] != 10:
                length += (data[i] & 0xC0) != 0x80
                i += 1
            if length > most:
                first = last = -1
                j, position = start, 0
                while j < i:
                    if not kinds[point(data, j)] & SPECIAL:
                        first = position if first < 0 else first
                        last = position
                    j += width(data[j])
                    position += 1
                length = last - first + 1 if first >= 0 else 0
            if least <= length <= most:
                k = _put(out, k, k == begin, between, data, start, i)
                between = 0
        out_starts[d + 1] = k
    return out[:k], out_starts


@compiled
def _drop_by_substring(
    data: np.ndarray,
    starts: np.ndarray,
    kinds: np.ndarray,
    needles: np.ndarray,
    at: np.ndarray,
    first: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    out = np.empty(starts[-1] - starts[0], np.uint8)
    out_starts = np.zeros(len(starts), np.int64)
    everything = False
    for n in range(len(at) - 1):
        everything |= at[n] == at[n + 1]
    k = 0
    for d in range(len(starts) - 1):
        i, end = starts[d], starts[d + 1]
        begin, between = k, 0
        while i < end and not everything:
            b = data[i]
            if b == 32 or b == 9 or b == 10:
                between = max(between, 0 if b == 32 else (1 if b == 9 else 2))
                i += 1
                continue
            start = i
            suspect = False
            while i < end and data[i] != 32 and data[i] != 9 and data[i] != 10:
                suspect |= first[data[i]]
                i += 1
            if not (suspect and _holds(data, start, i, kinds, needles, at, first)):
                k = _put(out, k, k == begin, between, data, start, i)
                between = 0
        out_starts[d + 1] = k
    return out[:k], out_starts


@compiled
def _holds(
    data: np.ndarray,
    start: int,
    end: int,
    kinds: np.ndarray,
    needles: np.ndarray,
    at: np.ndarray,
    first: np.ndarray,
) -> bool:
    """Whether a word holds one of the strings between its outermost characters that are not special."""
    while start < end and kinds[point(data, start)] & SPECIAL:
        start += width(data[start])
    while end > start:
        last = end - 1
        while (data[last] & 0xC0) == 0x80:
            last -= 1
        if not kinds[point(data, last)] & SPECIAL:
            break
        end = last
    for i in range(start, end):
        if first[data[i]]:
            for n in range(len(at) - 1):
                size = at[n + 1] - at[n]
                if i + size <= end:
                    same = 0
                    while same < size and data[i + same] == needles[at[n] + same]:
                        same += 1
                    if same == size:
                        return True
    return False
