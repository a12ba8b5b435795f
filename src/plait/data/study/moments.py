"""Mean, spread and correlation of many numbers at once, merged part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.errors import DataError, StrandError


@dataclass(frozen=True)
class Moments:
    """Means and sums of products of deviations.

    Merging gives the same whichever way parts are put together, up to the rounding of floating point.

    Args:
        names: Of the numbers.
        count: Rows.
        mean: float64 ``[names]``.
        products: Sums of products of deviations from the means, float64 ``[names, names]``.

    Source: Chan, Golub and LeVeque 1979; Pébay 2008, equation 3.6, for pairs.

    Example:
        >>> moments = Moments.of(("a", "b"), np.array([[1.0, 2.0], [3.0, 6.0]]))
        >>> moments.mean.tolist(), moments.std().round(3).tolist()
        ([2.0, 4.0], [1.414, 2.828])
        >>> moments.correlation().round(9).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    names: tuple[str, ...]
    count: int
    mean: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, ...], rows: np.ndarray) -> Moments:
        """The moments of rows, float64 ``[rows, names]``."""
        if not len(rows):
            return cls(names, 0, np.zeros(len(names)), np.zeros((len(names), len(names))))
        mean = rows.mean(axis=0)
        apart = rows - mean
        return cls(names, len(rows), mean, apart.T @ apart)

    def merge(self, other: Moments) -> Moments:
        """The moments of both together.

        Raises:
            StrandError: They are of different numbers.
        """
        if self.names != other.names:
            raise StrandError(
                f"moments of {', '.join(self.names)} and of {', '.join(other.names)} do not add up",
                code="study.unlike-sketches",
                hint="make all sketches with the same filters",
            )
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = np.outer(apart, apart) * (self.count * other.count / count)
        return Moments(self.names, count, mean, self.products + other.products + between)

    def std(self) -> np.ndarray:
        """Standard deviations with ``n - 1`` below (as pandas has them), ``[names]``; NaN below two rows."""
        if self.count < 2:
            return np.full(len(self.names), np.nan)
        return np.sqrt(np.maximum(np.diag(self.products), 0) / (self.count - 1))

    def correlation(self) -> np.ndarray:
        """Pearson's correlations, ``[names, names]``; NaN where a number never varies."""
        scale = np.sqrt(np.maximum(np.diag(self.products), 0))
        both = np.outer(scale, scale)
        found = np.divide(self.products, both, out=np.full_like(both, np.nan), where=both > 0)
        return np.clip(found, -1, 1)

    def pack(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "names": list(self.names),
            "count": self.count,
            "mean": self.mean.tolist(),
            "products": self.products.tolist(),
        }

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Moments:
        """Moments from `pack`.

        Raises:
            DataError: The data are no moments.
        """
        try:
            names, count = tuple(str(n) for n in data["names"]), int(data["count"])
            mean = np.array(data["mean"], np.float64).reshape(len(names))
            products = np.array(data["products"], np.float64).reshape(len(names), len(names))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"these are no moments: {error}", code="study.bad-sketch") from error
        if count < 0 or not (np.isfinite(mean).all() and np.isfinite(products).all()):
            raise DataError("a sketch has moments that no data gives", code="study.bad-sketch")
        return cls(names, count, mean, products)
