"""Filters that count words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plait.data.op import Bounds, RangeFilter
from plait.data.ops.filters.pieces import piece_model

if TYPE_CHECKING:
    import numpy as np

    from plait.data.batch import Batch
    from plait.data.kernels import Words


class WordFilter(RangeFilter):
    """Base of filters that look at words: those between blanks, or the pieces of a SentencePiece model."""

    needs = frozenset({"words"})

    lang: str = "en"
    """Language of the texts."""
    tokenization: bool = False
    """Take the pieces of a SentencePiece model for words."""
    sentencepiece_model: str | None = None
    """With ``tokenization``: the model's file; by default Data-Juicer's own copy for ``lang``, where it left one."""

    def ready(self) -> None:
        """Looks for the SentencePiece model."""
        if self.tokenization:
            piece_model(self.sentencepiece_model, self.lang).ready()

    def words(self, batch: Batch) -> Words:
        """Words of each text."""
        if not self.tokenization:
            return batch.words(self.text_key)
        return piece_model(self.sentencepiece_model, self.lang).words(batch, self.text_key)


class WordsNumFilter(WordFilter):
    """Keeps texts of a number of words.

    Example:
        - words_num_filter: {min_num: 15}

        >>> WordsNumFilter().measure_texts(["one, two - three!"])
        [3.0]

    Source: Data-Juicer 1.6.1, ``words_num_filter``.
    """

    stat = "num_words"
    cost = "words"

    min_num: int = 10
    """Fewest words kept."""
    max_num: int = sys.maxsize
    """Most words kept."""

    def value(self, batch: Batch) -> np.ndarray:
        """Words that are left after special characters around them are taken off."""
        # Not the number of the words in lower case: a few special characters (Г, Ⓜ) are so only as capitals.
        return self.words(batch).cased

    def bounds(self) -> Bounds:
        """Fewest and most words."""
        return self.min_num, self.max_num
