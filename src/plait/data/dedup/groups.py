"""Rows that share a key, found in bounded memory: key by key, and of large inputs a range of keys at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plait.data.loops import compiled

if TYPE_CHECKING:
    from plait.data.op import Rows

_BYTES_PER_ROW = 24
"""What sorting takes: the key, the position, and the order."""


@dataclass(frozen=True)
class Groups:
    """Positions that share a key, two or more in each group.

    Args:
        members: Ascending in each group, int64 ``[members]``; groups in order of their keys.
        starts: Where each group starts, int64 ``[groups + 1]``.
    """

    members: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def parts(self, members: int) -> Iterator[Groups]:
        """The same groups, some at a time: about so many members, or one group that has more.

        Example:
            >>> groups = Groups(np.arange(6), np.array([0, 2, 4, 6]))
            >>> [part.members.tolist() for part in groups.parts(4)]
            [[0, 1, 2, 3], [4, 5]]
        """
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.starts, self.starts[first] + members, side="right")) - 1
            last = max(last, first + 1)
            starts = self.starts[first : last + 1]
            yield Groups(self.members[starts[0] : starts[-1]], starts - starts[0])
            first = last


def groups_of(
    rows: Rows, name: str, columns: slice, changed: Callable[[np.ndarray], np.ndarray] | None = None
) -> Iterator[Groups]:
    """Rows that agree in some columns of a key, in order of the first of them; rows of zeros are left alone.

    The keys must be hashes: of an input too large to sort in ``rows.memory_bytes``, one range of keys is sorted
    after the other. The groups and their order do not depend on that.

    Args:
        rows: All rows.
        name: The key, ``[rows, n]``.
        columns: Which of its columns.
        changed: What to make of them first, row by row.
    """
    parts = -(-rows.count * _BYTES_PER_ROW // max(rows.memory_bytes, 1))
    if parts <= 1:
        keys = rows.key(name, columns)
        yield group(changed(keys) if changed else keys)
        return
    edges = [(part << 64) // parts for part in range(parts + 1)]
    for low, high in pairwise(edges):
        found, positions = list[np.ndarray](), list[np.ndarray]()
        for start, part in rows.parts(name, columns):
            keys = changed(part) if changed else part
            inside = np.flatnonzero((keys[:, 0] >= np.uint64(low)) & (keys[:, 0] <= np.uint64(high - 1)))
            found.append(keys[inside])
            positions.append(inside + start)
        some = group(np.concatenate(found))
        yield Groups(np.concatenate(positions)[some.members], some.starts)


def groups_of_each(rows: Rows, name: str, columns: int) -> Iterator[Groups]:
    """Rows that agree in the first column of a key, then those that agree in the second, and so on; see `groups_of`.

    Where there is room for several columns, they are read together: every read visits the files of all chunks.
    """
    together = rows.memory_bytes // (4 * 8 * max(rows.count, 1))
    if together <= 1:
        for column in range(columns):
            yield from groups_of(rows, name, slice(column, column + 1))
        return
    for begin in range(0, columns, together):
        keys = rows.key(name, slice(begin, min(begin + together, columns)))
        for column in range(keys.shape[1]):
            yield group(keys[:, column : column + 1])


def group(keys: np.ndarray) -> Groups:
    """Rows that agree in all columns.

    Args:
        keys: uint64 ``[rows, columns]``; rows of zeros are left alone.

    Example:
        >>> found = group(np.array([[7], [5], [7], [0], [0], [7]], np.uint64))
        >>> found.members.tolist(), found.starts.tolist()
        ([0, 2, 5], [0, 3])
    """
    keys = np.ascontiguousarray(keys)
    return Groups(*_grouped(keys, np.argsort(keys[:, 0])))


def ascending(values: np.ndarray) -> np.ndarray:
    """Distinct values in order, by sorting: of millions of values several times faster than NumPy's hash table.

    Example:
        >>> ascending(np.array([3, 1, 3]))
        array([1, 3])
    """
    values = np.sort(values)
    first = np.ones(len(values), np.bool_)
    first[1:] = values[1:] != values[:-1]
    return values[first]


class Spill:
    """Arrays kept in memory while there is room, and in files after that."""

    def __init__(self, folder: Path | None, memory_bytes: int) -> None:
        self._folder = folder
        self._left = memory_bytes
        self._written = 0

    @classmethod
    def of(cls, rows: Rows) -> Spill:
        """Room for half of what a barrier may hold."""
        need = rows.count * _BYTES_PER_ROW
        return cls(rows.scratch if need > rows.memory_bytes // 8 else None, rows.memory_bytes // 2)

    def keep(self, array: np.ndarray) -> np.ndarray:
        """The same values, in memory or mapped from a file."""
        self._left -= array.nbytes
        if self._left >= 0 or self._folder is None or not len(array):
            return array
        path = self._folder / f"spill-{self._written}.npy"
        self._written += 1
        np.save(path, array, allow_pickle=False)
        return np.load(path, mmap_mode="r")


@compiled
def _grouped(keys: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, columns = keys.shape
    members, starts = np.empty(n, np.int64), np.empty(n // 2 + 2, np.int64)
    starts[0] = 0
    k = groups = 0
    i = 0
    while i < n:
        j = i + 1
        while j < n and keys[order[j], 0] == keys[order[i], 0]:
            j += 1
        if j - i > 1:
            run = np.sort(order[i:j])
            left = len(run)
            # Most runs are one group; those that differ in a later column are taken apart.
            while left > 1:
                first, begin, waiting = run[0], k, 0
                zero = True
                for c in range(columns):
                    zero &= keys[first, c] == 0
                for m in range(left):
                    same = True
                    for c in range(1, columns):
                        same &= keys[run[m], c] == keys[first, c]
                    if same:
                        members[k] = run[m]
                        k += 1
                    else:
                        run[waiting] = run[m]
                        waiting += 1
                if k - begin > 1 and not zero:
                    groups += 1
                    starts[groups] = k
                else:
                    k = begin
                left = waiting
        i = j
    return members[:k].copy(), starts[: groups + 1].copy()
