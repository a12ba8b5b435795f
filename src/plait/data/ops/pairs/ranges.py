"""Base of the filters of this folder that keep a range of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from plait.data.op import RangeFilter


class KnownRangeFilter(RangeFilter):
    """Keeps rows whose number is known and lies in a range, or outside it if the range is reversed."""

    def inside(self, value: Any) -> np.ndarray:
        """Whether numbers are such as are kept; what is not a number never is."""
        return super().inside(value) & ~np.isnan(np.asarray(value, np.float64))
