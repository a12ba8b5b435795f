"""Filters that look at lines. A line ends where Python's ``str.splitlines`` ends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plait.data.op import Bounds, Filter, Shared

if TYPE_CHECKING:
    import polars as pl


class AverageLineLengthFilter(Filter):
    r"""Keeps texts whose lines have a length on average.

    Example:
        - average_line_length_filter: {min_len: 12}

        >>> AverageLineLengthFilter().measure_texts(["abc\nde\n"])
        [3.5]

    Source: Data-Juicer 1.6.1, ``average_line_length_filter``.
    """

    stat = "avg_line_length"
    needs = frozenset({"chars", "lines"})

    min_len: int = 10
    """Smallest average kept, in characters."""
    max_len: int = sys.maxsize
    """Largest average kept, in characters."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Characters of the text, line ends included, over its lines; 0 for an empty text."""
        import polars as pl

        lines = shared.lines.str.count_matches("\n", literal=True) + 1
        return pl.when(shared.chars == 0).then(0.0).otherwise(shared.chars / lines)

    def bounds(self) -> Bounds:
        """Smallest and largest average."""
        return self.min_len, self.max_len


class MaximumLineLengthFilter(Filter):
    r"""Keeps texts whose longest line has a length.

    Example:
        - maximum_line_length_filter: {max_len: 2000}

        >>> MaximumLineLengthFilter().measure_texts(["abc\nde\n"])
        [3.0]

    Source: Data-Juicer 1.6.1, ``maximum_line_length_filter``.
    """

    stat = "max_line_length"
    needs = frozenset({"lines"})

    min_len: int = 10
    """Smallest maximum kept, in characters."""
    max_len: int = sys.maxsize
    """Largest maximum kept, in characters."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Characters of the longest line."""
        import polars as pl

        return shared.lines.str.split("\n").list.eval(pl.element().str.len_chars()).list.max()

    def bounds(self) -> Bounds:
        """Smallest and largest maximum."""
        return self.min_len, self.max_len
