"""Counts of values in bins whose width grows with the value: percentiles of any amount of data in little memory.

Bin ``i`` holds the values in ``(γ^(i-1), γ^i]`` with ``γ = (1 + accuracy) / (1 - accuracy)``, so the middle of a bin
is within ``accuracy`` of each of its values, relative to the value. Merging adds counts: the result does not depend
on how data was cut or in which order parts came, to the bit.

Source: Masson, Rim and Lee 2019, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.errors import DataError, StrandError

ACCURACY = 0.001
"""Relative error of a percentile, unless asked otherwise: whole numbers up to 500 keep a bin of their own."""

TINY = 1e-9
"""Values closer to zero than this count as zero."""

_MOST = 1 << 48  # rows in a bin that a sketch from elsewhere may claim: sums must not overflow
_OFFSET = 1 << 40  # keys of values above zero lie above this, those of values below zero below its negative


@dataclass(frozen=True)
class Bins:
    """Counts by bin.

    Args:
        accuracy: Relative error of a percentile.
        keys: Bins that hold something, int64, ascending in the order of the values.
        counts: Values in each, int64.

    Example:
        >>> bins = Bins.of(np.array([1.0, 2.0, 3.0, 400.0]))
        >>> round(bins.quantile(0.5)), round(bins.quantile(1.0)), bins.total
        (2, 400, 4)
        >>> bins.merge(Bins.of(np.array([5.0]))).total
        5
    """

    accuracy: float
    keys: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, accuracy: float = ACCURACY) -> Bins:
        """The bins of finite values, float64 ``[values]``."""
        keys = np.zeros(len(values), np.int64)
        large = np.abs(values) >= TINY
        # Rounding before the ceiling keeps a value and its neighbour in floating point in one bin.
        index = np.ceil(np.round(np.log(np.abs(values[large])) / _log_gamma(accuracy), 9)).astype(np.int64)
        keys[large] = np.where(values[large] > 0, _OFFSET + index, -_OFFSET - index)
        keys, counts = np.unique(keys, return_counts=True)
        return cls(accuracy, keys, counts.astype(np.int64))

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def merge(self, other: Bins) -> Bins:
        """The bins of both together.

        Raises:
            StrandError: They differ in accuracy.
        """
        if self.accuracy != other.accuracy:
            raise StrandError(
                f"bins of accuracy {self.accuracy:g} and {other.accuracy:g} do not add up",
                code="study.unlike-sketches",
                hint="make all sketches with the same accuracy",
            )
        return _gathered(
            self.accuracy, np.concatenate([self.keys, other.keys]), np.concatenate([self.counts, other.counts])
        )

    def values(self) -> np.ndarray:
        """The middle of each bin, float64: within ``accuracy`` of each value in it."""
        return _middles(self.keys, self.accuracy)

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each bin begins and ends, float64: no value in it is lower or higher."""
        index = np.abs(self.keys) - _OFFSET
        zero = self.keys == 0
        near, far = (np.exp(np.where(zero, 0, i) * _log_gamma(self.accuracy)) for i in (index - 1, index))
        low = np.where(zero, 0.0, np.where(self.keys > 0, near, -far))
        return low, np.where(zero, 0.0, np.where(self.keys > 0, far, -near))

    def quantile(self, share: float) -> float:
        """The value at a share of the way through the sorted values (numpy's method "lower"); NaN without values."""
        return float(self.quantiles(np.array([share]))[0])

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """`quantile` of several shares."""
        total = self.total
        if not total:
            return np.full(len(shares), np.nan)
        ranks = np.floor(np.asarray(shares) * (total - 1))
        at = np.searchsorted(np.cumsum(self.counts), ranks, side="right")
        return self.values()[np.minimum(at, len(self.keys) - 1)]

    def below(self, value: float) -> float:
        """Share of the values below a value, those in its own bin counted half; 0 without values."""
        if not self.total:
            return 0.0
        key = Bins.of(np.array([value]), self.accuracy).keys[0]
        weight = np.where(self.keys < key, 1.0, np.where(self.keys == key, 0.5, 0.0))
        return float(weight @ self.counts / self.total)

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Counts between edges, float64 ``[edges - 1]``; what lies outside is left out."""
        return np.histogram(self.values(), edges, weights=self.counts.astype(np.float64))[0]

    def coarsened(self, factor: int) -> Bins:
        """Every ``factor`` bins put together, exactly."""
        ratio = math.exp(_log_gamma(self.accuracy) * factor)
        index = np.abs(self.keys) - _OFFSET
        grown = -(-index // factor)
        keys = np.where(self.keys == 0, 0, np.sign(self.keys) * (_OFFSET + grown))
        return _gathered((ratio - 1) / (ratio + 1), keys, self.counts)

    def pack(self) -> dict[str, Any]:
        """Plain data: bins by their index above zero, at zero and below."""
        above, below = self.keys > 0, self.keys < 0
        return {
            "accuracy": self.accuracy,
            "above": [(self.keys[above] - _OFFSET).tolist(), self.counts[above].tolist()],
            "zero": int(self.counts[self.keys == 0].sum()),
            "below": [(-self.keys[below] - _OFFSET).tolist(), self.counts[below].tolist()],
        }

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Bins:
        """Bins from `pack`.

        Raises:
            DataError: The data are no bins.
        """
        try:
            above = np.array(data["above"], np.int64).reshape(2, -1)
            below = np.array(data["below"], np.int64).reshape(2, -1)
            accuracy, zero = float(data["accuracy"]), int(data["zero"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"these are no bins: {error}", code="study.bad-sketch") from error
        keys = np.concatenate([-below[0] - _OFFSET, [0], above[0] + _OFFSET])
        counts = np.concatenate([below[1], [zero], above[1]])
        index = np.concatenate([above[0], below[0]])
        if (
            not 0 < accuracy < 1
            or (counts < 0).any()
            or (counts > _MOST).any()
            or (np.abs(index) >= _OFFSET // 2).any()
        ):
            raise DataError("a sketch has bins or counts that no data gives", code="study.bad-sketch")
        return _gathered(accuracy, keys, counts)


def _gathered(accuracy: float, keys: np.ndarray, counts: np.ndarray) -> Bins:
    distinct, inverse = np.unique(keys, return_inverse=True)
    summed = np.zeros(len(distinct), np.int64)
    np.add.at(summed, inverse, counts)
    return Bins(accuracy, distinct[summed > 0], summed[summed > 0])


def _log_gamma(accuracy: float) -> float:
    return math.log1p(2 * accuracy / (1 - accuracy))


def _middles(keys: np.ndarray, accuracy: float) -> np.ndarray:
    index = np.abs(keys) - _OFFSET
    upper = np.exp(np.where(keys == 0, 0, index) * _log_gamma(accuracy))
    return np.where(keys == 0, 0.0, np.sign(keys) * upper * (1 - accuracy))
