"""What an aggregation rule offers, and what every rule refuses.

Rules see rows: one client's change to the model, flat, ``[parameters]``. A row has a place in the order of
the round's tasks, and rules compute in that order whatever order rows arrive in: floating-point sums depend
on their order, and the digest of the model must not depend on who was fastest.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

import numpy as np
import numpy.typing as npt

from plait.core.component import Component
from plait.federate.payload import Vector

Rows = npt.NDArray[np.float32]
"""Clients' changes, ``[clients, parameters]``."""


class Fold(Protocol):
    """Takes the rows of one round as they arrive."""

    def add(self, row: Vector | None, *, place: int, weight: float) -> None:
        """Take the row of the task at that place; ``None`` when the client's row was refused."""
        ...

    def result(self) -> Vector:
        """The aggregate of all rows taken, float32 ``[parameters]``."""
        ...


class Aggregator(Component):
    """A rule. Subclasses hold its settings."""

    @abstractmethod
    def open(self, *, size: int) -> Fold:
        """Begin a round over vectors of that size."""

    def needs(self) -> int:
        """The fewest rows the rule can work with."""
        return 1


class GatheredRows:
    """Keeps every row of a round, for rules that must see them all at once.

    Args:
        size: Parameters.
    """

    def __init__(self, *, size: int) -> None:
        self._size = size
        self._rows: dict[int, Vector] = {}

    def add(self, row: Vector | None, *, place: int, weight: float) -> None:  # noqa: ARG002  (these rules weigh none)
        """Keep a row; rules of this kind count every client the same, whatever it claims to hold."""
        if row is not None:
            self._rows[place] = row

    def rows(self) -> Rows:
        """All rows in canonical order, ``[clients, parameters]``."""
        if not self._rows:
            return np.empty((0, self._size), dtype=np.float32)
        return np.stack([self._rows[place] for place in sorted(self._rows)])


def why_refused(row: Vector, *, size: int) -> str | None:
    """The reason a row cannot enter any rule, or ``None`` for a good one.

    Example:
        >>> why_refused(np.array([1, np.nan], np.float32), size=2)
        '1 of 2 numbers are NaN or infinite'
        >>> why_refused(np.zeros(3, np.float32), size=2)
        'has shape [3], expected [2]'
    """
    if row.shape != (size,):
        return f"has shape {list(row.shape)}, expected [{size}]"
    finite = np.isfinite(row)
    if not finite.all():
        return f"{size - int(finite.sum())} of {size} numbers are NaN or infinite"
    return None
