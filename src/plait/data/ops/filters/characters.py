"""Filters that count characters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plait.data.op import Bounds, Filter, Shared
from plait.data.special import special_class

if TYPE_CHECKING:
    import polars as pl


class TextLengthFilter(Filter):
    """Keeps texts of a length in characters.

    Example:
        - text_length_filter: {min_len: 120, max_len: 100000}

        >>> TextLengthFilter(min_len=3).measure_texts(["hello", "hi"])
        [5.0, 2.0]

    Source: Data-Juicer 1.6.1, ``text_length_filter``.
    """

    stat = "text_len"
    needs = frozenset({"chars"})

    min_len: int = 10
    """Shortest text kept, in characters."""
    max_len: int = sys.maxsize
    """Longest text kept, in characters."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Characters."""
        return shared.chars

    def bounds(self) -> Bounds:
        """Shortest and longest."""
        return self.min_len, self.max_len


class AlphanumericFilter(Filter):
    """Keeps texts with a share of letters and digits.

    Example:
        - alphanumeric_filter: {min_ratio: 0.5}

        >>> AlphanumericFilter().measure_texts(["ab1!", ""])
        [0.75, 0.0]

    Source: Data-Juicer 1.6.1, ``alphanumeric_filter`` with ``tokenization: false``.
    """

    stat = "alnum_ratio"
    needs = frozenset({"chars"})

    min_ratio: float = 0.25
    """Smallest share kept, 0 to 1."""
    max_ratio: float = sys.maxsize
    """Largest share kept."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Characters for which Python's ``str.isalnum`` holds, over all characters; 0 for an empty text."""
        return _share(shared.text.str.count_matches(r"[\p{L}\p{N}]"), shared.chars)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


class SpecialCharactersFilter(Filter):
    """Keeps texts with a share of special characters: punctuation, digits, blanks, symbols, emoji.

    Example:
        - special_characters_filter: {max_ratio: 0.4}

        >>> SpecialCharactersFilter().measure_texts(["ab1!"])
        [0.5]

    Source: Data-Juicer 1.6.1, ``special_characters_filter``.
    """

    stat = "special_char_ratio"
    needs = frozenset({"chars"})

    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.25
    """Largest share kept, 0 to 1."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Special characters over all characters; 0 for an empty text."""
        return _share(shared.text.str.count_matches(f"[{special_class()}]"), shared.chars)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    import polars as pl

    return pl.when(whole == 0).then(0.0).otherwise(part / whole)
