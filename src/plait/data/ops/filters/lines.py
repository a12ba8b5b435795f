"""Filters that look at lines. A line ends where Python's ``str.splitlines`` ends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from plait.data.op import Bounds, RangeFilter
from plait.data.ops.filters.characters import share

if TYPE_CHECKING:
    import numpy as np

    from plait.data.batch import Batch


class AverageLineLengthFilter(RangeFilter):
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

    def value(self, batch: Batch) -> np.ndarray:
        """Characters of the text, line ends included, over its lines; 0 for an empty text."""
        scan = batch.scan(self.text_key)
        return share(scan.chars, scan.lines)

    def bounds(self) -> Bounds:
        """Smallest and largest average."""
        return self.min_len, self.max_len


class MaximumLineLengthFilter(RangeFilter):
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

    def value(self, batch: Batch) -> np.ndarray:
        """Characters of the longest line."""
        return batch.scan(self.text_key).longest_line

    def bounds(self) -> Bounds:
        """Smallest and largest maximum."""
        return self.min_len, self.max_len
