"""Which rows filters drop together, counted part by part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Drops:
    """Counts of rows that filters drop; those of two parts add up.

    Args:
        names: The filters.
        rows: Rows seen.
        kept: Rows that no filter drops.
        chars_kept: Their characters.
        alone: Rows that only this filter drops, int64 ``[names]``.
        both: Rows that two filters drop, int64 ``[names, names]``; on the diagonal those that one drops.
    """

    names: tuple[str, ...]
    rows: int
    kept: int
    chars_kept: int
    alone: np.ndarray
    both: np.ndarray

    @classmethod
    def of(cls, fails: Mapping[str, np.ndarray], chars: np.ndarray) -> Drops:
        """The counts of some rows.

        Args:
            fails: By filter, whether it drops each row, bool ``[rows]``.
            chars: Characters of each row, int64 ``[rows]``.

        Example:
            >>> fails = {"a": np.array([True, True, False]), "b": np.array([False, True, False])}
            >>> drops = Drops.of(fails, np.array([1, 2, 3]))
            >>> drops.kept, drops.alone.tolist(), drops.both.tolist()
            (1, [1, 0], [[2, 1], [1, 1]])
        """
        table = np.column_stack(list(fails.values())) if fails else np.zeros((len(chars), 0), np.bool_)
        failures = table.sum(axis=1)
        counted = table.astype(np.float64)  # products of floats use the fast routines; counts stay exact below 2^53
        return cls(
            names=tuple(fails),
            rows=len(chars),
            kept=int(np.count_nonzero(failures == 0)),
            chars_kept=int(chars[failures == 0].sum()),
            alone=table[failures == 1].sum(axis=0).astype(np.int64),
            both=np.rint(counted.T @ counted).astype(np.int64),
        )

    def merge(self, other: Drops) -> Drops:
        """The counts of both together."""
        return Drops(
            self.names,
            self.rows + other.rows,
            self.kept + other.kept,
            self.chars_kept + other.chars_kept,
            self.alone + other.alone,
            self.both + other.both,
        )

    def redundant(self, share: float = 0.9, least: int = 20) -> list[tuple[str, str, float]]:
        """Pairs ``(filter, other, share)``: the other drops at least that share of what the filter drops.

        Args:
            share: From which share on.
            least: Filters that drop fewer rows are left out.
        """
        found = list[tuple[str, str, float]]()
        for i, first in enumerate(self.names):
            for j, second in enumerate(self.names):
                if i == j or self.both[i, i] < least:
                    continue
                overlap = float(self.both[i, j] / self.both[i, i])
                if overlap >= share:
                    found.append((first, second, overlap))
        return found
