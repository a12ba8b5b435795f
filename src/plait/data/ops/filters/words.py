"""Filters that count words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plait.data.op import Bounds, Filter, Shared
from plait.data.special import word_pattern

if TYPE_CHECKING:
    import polars as pl


class WordsNumFilter(Filter):
    """Keeps texts of a number of words.

    Example:
        - words_num_filter: {min_num: 15}

        >>> WordsNumFilter().measure_texts(["one, two - three!"])
        [3.0]

    Source: Data-Juicer 1.6.1, ``words_num_filter`` with ``tokenization: false``.
    """

    stat = "num_words"

    min_num: int = 10
    """Fewest words kept."""
    max_num: int = sys.maxsize
    """Most words kept."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Words that are left after special characters around them are taken off.

        Not the length of ``shared.words``: those are lower case, and a few special characters (Г, Ⓜ) are so
        only as capitals.
        """
        return shared.text.str.count_matches(word_pattern())

    def bounds(self) -> Bounds:
        """Fewest and most words."""
        return self.min_num, self.max_num
