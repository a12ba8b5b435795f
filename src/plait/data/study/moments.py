"""Mean, spread and correlation of many numbers at once, merged part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.errors import DataError, StrandError

_ROUNDING = 1e-12  # of a mean, relative to it


@dataclass(frozen=True)
class Moments:
    """Means and sums of products of deviations, of each two numbers over the rows where both are known.

    Merging gives the same whichever way parts are put together, up to the rounding of floating point.

    Args:
        names: Of the numbers.
        counts: Rows where two numbers are known, int64 ``[names, names]``; on the diagonal those where one is.
        means: Of the number of the row, over the rows where that of the column is known too, float64
            ``[names, names]``.
        products: Sums of products of deviations from these means, float64 ``[names, names]``.
        squares: Sums of squared deviations of the number of the row, over the same rows, float64 ``[names, names]``.

    Source: Chan, Golub and LeVeque 1979; Pébay 2008, equation 3.6, for pairs. Pairs of rows where both are known, as
        pandas' ``corr`` takes them.

    Example:
        >>> moments = Moments.of(("a", "b"), np.array([[1.0, 2.0], [3.0, 6.0], [8.0, np.nan]]))
        >>> moments.mean().tolist(), moments.std().round(3).tolist()
        ([4.0, 4.0], [3.606, 2.828])
        >>> moments.correlation().round(9).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    names: tuple[str, ...]
    counts: np.ndarray
    means: np.ndarray
    products: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, ...], rows: np.ndarray) -> Moments:
        """The moments of rows, float64 ``[rows, names]``; what is not finite is not known."""
        many = len(names)
        known = np.isfinite(rows)
        if not len(rows) or not many:
            none = np.zeros((many, many))
            return cls(names, none.astype(np.int64), none, none, none)
        counted = known.astype(np.float64)  # products of floats use the fast routines; counts stay exact below 2^53
        counts = counted.T @ counted
        values = np.where(known, rows, 0.0)
        # Deviations from each number's own mean first: sums of large numbers would lose their small differences.
        own = values.sum(axis=0) / np.maximum(np.diag(counts), 1)
        apart = np.where(known, values - own, 0.0)
        shift = _per(apart.T @ counted, counts)
        means = np.where(counts > 0, own[:, None] + shift, 0.0)
        products = apart.T @ apart - counts * shift * shift.T
        squares = np.square(apart).T @ counted - counts * np.square(shift)
        return cls(names, np.rint(counts).astype(np.int64), means, products, squares)

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
        counts = self.counts + other.counts
        share = _per(other.counts.astype(np.float64), counts)
        apart = other.means - self.means
        weight = self.counts * share
        return Moments(
            self.names,
            counts,
            self.means + apart * share,
            self.products + other.products + apart * apart.T * weight,
            self.squares + other.squares + np.square(apart) * weight,
        )

    def count(self) -> np.ndarray:
        """Rows where each number is known, int64 ``[names]``."""
        return np.diag(self.counts)

    def mean(self) -> np.ndarray:
        """Means, float64 ``[names]``; NaN without rows."""
        return np.where(self.count() > 0, np.diag(self.means), np.nan)

    def std(self) -> np.ndarray:
        """Standard deviations with ``n - 1`` below (as pandas has them), ``[names]``; NaN below two rows."""
        spread = np.sqrt(np.maximum(np.diag(self.products), 0) / np.maximum(self.count() - 1, 1))
        return np.where(self.count() > 1, spread, np.nan)

    def correlation(self) -> np.ndarray:
        """Pearson's correlations, ``[names, names]``; NaN where a number never varies."""
        # What rounding leaves of a number that is always the same is no spread.
        varies = self.squares > self.counts * np.square(_ROUNDING * self.means)
        spread = np.sqrt(np.where(varies, self.squares, 0.0))
        both = spread * spread.T
        found = np.divide(self.products, both, out=np.full_like(both, np.nan), where=both > 0)
        return np.clip(found, -1, 1)

    def pack(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "names": list(self.names),
            "counts": self.counts.tolist(),
            "means": self.means.tolist(),
            "products": self.products.tolist(),
            "squares": self.squares.tolist(),
        }

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Moments:
        """Moments from `pack`.

        Raises:
            DataError: The data are no moments.
        """
        try:
            names = tuple(str(n) for n in data["names"])
            shape = len(names), len(names)
            counts = np.array(data["counts"], np.int64).reshape(shape)
            means, products, squares = (
                np.array(data[part], np.float64).reshape(shape) for part in ("means", "products", "squares")
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"these are no moments: {error}", code="study.bad-sketch") from error
        if (counts < 0).any() or (counts != counts.T).any() or (counts > np.diag(counts)[:, None]).any():
            raise DataError("a sketch has moments that no data gives", code="study.bad-sketch")
        if not all(np.isfinite(part).all() for part in (means, products, squares)):
            raise DataError("a sketch has moments that no data gives", code="study.bad-sketch")
        return cls(names, counts, means, products, squares)


def _per(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over counts, zero where there is nothing."""
    return np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
