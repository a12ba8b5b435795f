"""What the filters of this folder keep: ranges whose closed bounds belong to them, reversed or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.data.op import RangeFilter


class ClosedRangeFilter(RangeFilter):
    """Keeps rows whose number lies in a range, or outside it; a closed bound is kept either way.

    Source: Data-Juicer 1.6.1, ``Filter.get_keep_boolean``: reversing a range also opens its closed ends, so that
    what is equal to a bound stays in both.
    """

    def inside(self, value: Any) -> np.ndarray:
        """Whether numbers are such as are kept, bool ``[rows]``."""
        value = np.asarray(value)
        low, high = self.bounds()
        with_low = self.min_closed_interval != self.reversed_range
        with_high = self.max_closed_interval != self.reversed_range
        within = np.ones(len(value), np.bool_)
        if low is not None:
            within &= value >= low if with_low else value > low
        if high is not None:
            within &= value <= high if with_high else value < high
        return ~within if self.reversed_range else within
