"""Coordinate-wise robust rules: the median and the trimmed mean of every parameter on its own.

They bound what a minority of clients can do to each coordinate. They count every client the same: a weighted
median would hand an attacker its claimed number of examples.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from plait.errors import StrandError
from plait.federate.aggregators.base import Aggregator, GatheredRows, Rows
from plait.federate.payload import Vector

_CHUNK = 1 << 16  # columns sorted at a time: the working copy of a chunk stays in cache


class CoordinateMedian(Aggregator):
    """The median of every coordinate; of an even number of clients, the mean of the middle two.

    Holds while fewer than half of the clients lie.

    Source: Yin et al. 2018 (1803.01498), definition 1.
    """

    rule: Literal["median"] = "median"
    """Name of the rule in settings."""

    def open(self, *, size: int) -> MedianFold:
        """Begin a round."""
        return MedianFold(size=size)


class TrimmedMean(Aggregator):
    """The mean of every coordinate without its ``trim`` lowest and ``trim`` highest values.

    Holds while at most ``trim`` clients lie.

    Source: Yin et al. 2018 (1803.01498), definition 2, with the number of values in place of the fraction.
    """

    rule: Literal["trimmed-mean"] = "trimmed-mean"
    """Name of the rule in settings."""
    trim: int = Field(default=1, ge=0)
    """Values dropped at each end: the number of liars to withstand."""

    def open(self, *, size: int) -> TrimmedFold:
        """Begin a round."""
        return TrimmedFold(size=size, trim=self.trim)

    def needs(self) -> int:
        """One more than are trimmed."""
        return 2 * self.trim + 1


class MedianFold(GatheredRows):
    """Rows of a round, for the median."""

    def result(self) -> Vector:
        """The median, ``[parameters]``."""
        return coordinate_median(self.rows())


class TrimmedFold(GatheredRows):
    """Rows of a round, for the trimmed mean.

    Args:
        size: Parameters.
        trim: Values dropped at each end.
    """

    def __init__(self, *, size: int, trim: int) -> None:
        super().__init__(size=size)
        self._trim = trim

    def result(self) -> Vector:
        """The trimmed mean, ``[parameters]``."""
        return trimmed_mean(self.rows(), trim=self._trim)


def coordinate_median(rows: npt.ArrayLike) -> Vector:
    """The median of each column of ``[clients, parameters]``, as float32 ``[parameters]``.

    Raises:
        StrandError: There are no rows, or some number is not finite.

    Example:
        >>> coordinate_median([[1, 10], [2, 20], [900, -900]])
        array([ 2., 10.], dtype=float32)
    """
    table = _checked(rows)
    n = len(table)
    return _middle_mean(table, low=(n - 1) // 2, high=n // 2 + 1)


def trimmed_mean(rows: npt.ArrayLike, *, trim: int) -> Vector:
    """The mean of each column without its ``trim`` lowest and highest values, as float32 ``[parameters]``.

    Args:
        rows: ``[clients, parameters]``.
        trim: Values dropped at each end.

    Raises:
        StrandError: Nothing would be left, or some number is not finite.

    Example:
        >>> trimmed_mean([[1, 0], [2, 0], [3, 6], [900, -900]], trim=1)
        array([2.5, 0. ], dtype=float32)
    """
    table = _checked(rows)
    if trim < 0 or len(table) <= 2 * trim:
        raise StrandError(
            f"trimming {trim} at each end of {len(table)} rows leaves none",
            code="federate.too-few-clients",
            hint=f"trim less, or have at least {2 * trim + 1} clients answer",
        )
    return _middle_mean(table, low=trim, high=len(table) - trim)


def _middle_mean(rows: Rows, *, low: int, high: int) -> Vector:
    """Mean of the sorted values ``low..high-1`` of each column.

    `numpy.partition` puts them between the smaller and the larger without sorting. The middle is summed in
    float64 after sorting it, so that the order clients came in leaves no trace in the last bit.
    """
    out = np.empty(rows.shape[1], dtype=np.float32)
    pivots = sorted({low, high - 1})
    for begin in range(0, rows.shape[1], _CHUNK):
        columns = np.ascontiguousarray(rows[:, begin : begin + _CHUNK].T)  # [columns, clients]
        columns.partition(pivots, axis=1)
        middle = np.sort(columns[:, low:high], axis=1)
        out[begin : begin + _CHUNK] = middle.mean(axis=1, dtype=np.float64)
    return out


def _checked(rows: npt.ArrayLike) -> Rows:
    table = np.asarray(rows, dtype=np.float32)
    if table.ndim != 2 or len(table) == 0:
        raise StrandError(f"rows of shape {list(table.shape)} are not [clients, parameters]", code="federate.shape")
    if not np.isfinite(table).all():
        raise StrandError("some numbers are NaN or infinite", code="federate.not-finite")
    return table
