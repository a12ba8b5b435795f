"""Filters that look for text repeating itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import PositiveInt

from plait.data.op import Bounds, RangeFilter
from plait.data.ops.filters.words import WordFilter

if TYPE_CHECKING:
    from plait.data.batch import Batch


class CharacterRepetitionFilter(RangeFilter):
    """Keeps texts with a share of repeated runs of characters.

    Example:
        - character_repetition_filter: {rep_len: 10, max_ratio: 0.4}

        >>> CharacterRepetitionFilter(rep_len=2).measure_texts(["ababab"])
        [0.6]

    Source: Data-Juicer 1.6.1, ``character_repetition_filter``.
    """

    stat = "char_rep_ratio"
    needs = frozenset({"chars"})

    rep_len: PositiveInt = 10
    """Characters per run."""
    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.5
    """Largest share kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Occurrences of the ⌊√distinct⌋ most frequent of the runs that repeat, over those of all runs."""
        from plait.data import kernels

        return kernels.character_repetition(batch.text(self.text_key), self.rep_len)

    def bracket(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Between nothing and the share of runs that may repeat."""
        from plait.data import kernels

        high = kernels.character_repetition_bound(batch.text(self.text_key), self.rep_len, self.max_ratio)
        return np.zeros(len(high)), high

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


class WordRepetitionFilter(WordFilter):
    """Keeps texts with a share of repeated runs of words.

    Example:
        - word_repetition_filter: {rep_len: 10, max_ratio: 0.4}

        >>> WordRepetitionFilter(rep_len=2).measure_texts(["to be or not to be"])
        [0.4]

    Source: Data-Juicer 1.6.1, ``word_repetition_filter``.
    """

    stat = "word_rep_ratio"
    cost = "words"

    rep_len: PositiveInt = 10
    """Words per run."""
    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.5
    """Largest share kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Occurrences of runs that repeat over those of all runs."""
        from plait.data import kernels

        words = self.words(batch)
        return kernels.repetition(words.hashes, words.starts, self.rep_len, top=False)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio
