"""The smallest hashes of a set: how many distinct things it has, and how much two sets share.

Source: Bar-Yossef et al. 2002, "Counting distinct elements in a data stream"; Beyer et al. 2007, "On synopses for
distinct-value estimation under multiset operations", for unions and intersections; Broder 1997 for the similarity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from plait.errors import DataError, StrandError

SIZE = 4096
"""Hashes kept: counts of distinct things are within about 1/√(size-2) = 1.6 % (one standard deviation)."""

_SPAN = 2.0**64


@dataclass(frozen=True)
class Bottom:
    """The ``size`` smallest distinct hashes of a set. Merging is exact, in whatever order.

    Args:
        size: Hashes kept at most.
        hashes: uint64, ascending and distinct.

    Example:
        >>> from plait.data.study.keyed import key_of, sip_hash
        >>> key = key_of("ours")
        >>> first, second = (Bottom.of(sip_hash(np.arange(*r), key)) for r in ((0, 60_000), (30_000, 90_000)))
        >>> round(first.distinct(), -4), round(first.jaccard(second), 1)
        (60000.0, 0.3)
    """

    size: int
    hashes: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray, size: int = SIZE) -> Bottom:
        """The sketch of hashes, uint64 ``[hashes]``, that are evenly spread."""
        hashes = np.asarray(hashes, np.uint64)
        if len(hashes) > 4 * size:
            # Most hashes of a large batch are far too large to stay; finding the distinct ones needs a sort.
            cut = np.uint64(int(_SPAN * min(1.0, 4 * size / len(hashes))) - 1)
            small = np.unique(hashes[hashes <= cut])
            if len(small) >= size:
                return cls(size, small[:size])
        return cls(size, np.unique(hashes)[:size])

    def merge(self, other: Bottom) -> Bottom:
        """The sketch of the union.

        Raises:
            StrandError: They keep different numbers of hashes.
        """
        if self.size != other.size:
            raise StrandError(
                f"sketches of {self.size} and {other.size} hashes do not add up", code="study.unlike-sketches"
            )
        return Bottom(self.size, np.union1d(self.hashes, other.hashes)[: self.size])

    def distinct(self) -> float:
        """Estimated number of distinct things; exact below ``size``."""
        if len(self.hashes) < self.size:
            return float(len(self.hashes))
        return (self.size - 1) * _SPAN / (float(self.hashes[-1]) + 1)

    def jaccard(self, other: Bottom) -> float:
        """Estimated share of the union that both have; 0 if both are empty."""
        union = self.merge(other).hashes
        both = np.intersect1d(np.intersect1d(self.hashes, other.hashes), union)
        return len(both) / len(union) if len(union) else 0.0

    def shared(self, other: Bottom) -> float:
        """Estimated number of distinct things that both have."""
        return self.jaccard(other) * self.merge(other).distinct()

    def pack(self) -> dict[str, Any]:
        """Plain data."""
        return {"size": self.size, "hashes": self.hashes.tolist()}

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Bottom:
        """A sketch from `pack`.

        Raises:
            DataError: The data are no such sketch.
        """
        try:
            size, hashes = int(data["size"]), np.array(data["hashes"], np.uint64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"these are no hashes: {error}", code="study.bad-sketch") from error
        if size < 3 or hashes.ndim != 1 or len(hashes) > size or (hashes[1:] <= hashes[:-1]).any():
            raise DataError("a sketch has hashes that no data gives", code="study.bad-sketch")
        return cls(size, hashes)
