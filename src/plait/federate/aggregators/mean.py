"""The weighted mean, and the weights: from what clients claim to hold, capped by the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from plait.errors import StrandError
from plait.federate.aggregators.base import Aggregator
from plait.federate.payload import Vector


class Mean(Aggregator):
    """The weighted mean of the clients' changes, ``Σ wᵢ Δᵢ / Σ wᵢ``.

    Streams: memory does not grow with the number of clients as long as they answer roughly in turn.

    Source: McMahan et al. 2017 (1602.05629), algorithm 1.
    """

    rule: Literal["mean"] = "mean"
    """Name of the rule in settings."""

    def open(self, *, size: int) -> MeanFold:
        """Begin a round."""
        return MeanFold(size=size)


class MeanFold:
    """Adds rows in canonical order in float64; a row that comes early waits for its turn.

    Args:
        size: Parameters.
    """

    def __init__(self, *, size: int) -> None:
        self._sum = np.zeros(size, dtype=np.float64)
        self._weight = 0.0
        self._next = 0
        self._waiting: dict[int, tuple[Vector | None, float]] = {}

    def add(self, row: Vector | None, *, place: int, weight: float) -> None:
        """Take a row; ``None`` leaves its place empty."""
        self._waiting[place] = (row, weight)
        while self._next in self._waiting:
            ready, its_weight = self._waiting.pop(self._next)
            self._next += 1
            if ready is not None:
                self._sum += np.multiply(ready, its_weight, dtype=np.float64)
                self._weight += its_weight

    def result(self) -> Vector:
        """The mean.

        Raises:
            StrandError: A place was never filled, or no row was taken.
        """
        if self._waiting or self._weight == 0.0:
            raise StrandError(f"the mean lacks the reply of task {self._next}", code="federate.missing-reply")
        return (self._sum / self._weight).astype(np.float32)


def weighted_mean(rows: npt.ArrayLike, weights: Sequence[float]) -> Vector:
    """The mean of rows ``[clients, parameters]`` under weights ``[clients]``, as float32 ``[parameters]``.

    Example:
        >>> weighted_mean([[0.0, 2.0], [4.0, 2.0]], [3, 1])
        array([1., 2.], dtype=float32)
    """
    table = np.asarray(rows, dtype=np.float32)
    fold = MeanFold(size=table.shape[1])
    for place, (row, weight) in enumerate(zip(table, weights, strict=True)):
        fold.add(row, place=place, weight=weight)
    return fold.result()


def capped_weights(examples: Sequence[int], *, max_weight: float) -> list[float]:
    """Shares in proportion to examples, none larger than ``max_weight`` equal shares; they sum to 1.

    How many examples a client holds is the client's own claim, so without a cap one client decides the model
    by claiming a billion. What the cap takes is spread over the others in proportion, again under the cap.

    Args:
        examples: Claimed numbers of examples, each at least 1.
        max_weight: Cap, in equal shares ``1/n``; at least 1 (1 counts every client the same).

    Raises:
        StrandError: A claim is below 1, or the cap is.

    Example:
        >>> capped_weights([1, 1, 2], max_weight=3)
        [0.25, 0.25, 0.5]
        >>> capped_weights([10, 10, 1_000_000_000], max_weight=1.5)
        [0.25, 0.25, 0.5]
    """
    if max_weight < 1 or any(n < 1 for n in examples):
        raise StrandError(
            f"claims {list(examples)} cannot be weighed under a cap of {max_weight:g} equal shares",
            code="federate.weights",
            hint="every client needs at least one example, and the cap is at least 1",
        )
    claims = np.asarray(examples, dtype=np.float64)
    cap = max_weight / len(examples)
    capped = np.zeros(len(examples), dtype=bool)
    while True:
        free = claims[~capped].sum()
        shares = np.full(len(examples), cap)
        if free > 0:
            shares[~capped] = claims[~capped] / free * (1 - cap * capped.sum())
        over = ~capped & (shares > cap * (1 + 1e-12))
        if not over.any():
            return [float(share) for share in shares]
        capped |= over
