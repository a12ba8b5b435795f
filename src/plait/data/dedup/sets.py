"""The shingle sets of candidates, and their exact Jaccard similarity."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from plait.data.loops import compiled

if TYPE_CHECKING:
    import polars as pl

    from plait.data.op import Rows

SETS_AT_ONCE = 4_096
"""Sets of a file held at a time: some tens of megabytes."""

_ROWS_AT_ONCE = 1_024
"""Texts fetched at a time."""

_MAKERS = 2
"""Threads that make sets of them."""

Sets = tuple[np.ndarray, np.ndarray]
"""Values of all sets, uint64, each once per set, and where each set starts, int64 ``[sets + 1]``."""


@dataclass(frozen=True)
class SetStore:
    """Sets one after the other, in memory or mapped from a file.

    Args:
        values: uint64 ``[values]``.
        start: Where each set starts, int64 ``[sets]``.
        size: How many values it has, int64 ``[sets]``.
    """

    values: np.ndarray
    start: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, starts: np.ndarray) -> SetStore:
        """Sets that lie one after the other."""
        return cls(values, starts[:-1], np.diff(starts))

    def similarity(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Jaccard similarity of pairs of sets, float64 ``[pairs]``; 0 where one is empty.

        Fast where equal entries of ``first`` stand together.
        """
        found, table = [np.zeros(0)], np.zeros(room_for(self.size), np.uint64)
        for begin in range(0, len(first), SETS_AT_ONCE):
            left, right = first[begin : begin + SETS_AT_ONCE], second[begin : begin + SETS_AT_ONCE]
            near = self.gathered(np.concatenate([left, right]))
            found.append(_similarities(left, right, near.values, near.start, near.size, table))
        return np.concatenate(found)

    def gathered(self, places: np.ndarray) -> SetStore:
        """A store that has at least some of the sets, in memory, until others are gathered.

        Sets in a file are read one by one: of a mapped file, scattered reads would bring in nearly all of it.
        """
        if not isinstance(self.values, np.memmap):
            return self
        places = np.unique(places)
        size = self.size[places]
        ends = np.cumsum(size)
        values = np.empty(int(ends[-1]) if len(ends) else 0, np.uint64)
        with Path(str(self.values.filename)).open("rb", buffering=0) as file:
            for begin, end, place in zip((ends - size).tolist(), ends.tolist(), places.tolist(), strict=True):
                file.seek(int(self.start[place]) * values.itemsize)
                file.readinto(cast("Any", values[begin:end]))
        self._scattered[places] = ends - size
        return SetStore(values, self._scattered, self.size)

    @cached_property
    def _scattered(self) -> np.ndarray:
        """Where sets start that were gathered last: one array for all calls, as each touches pages all over it."""
        return np.zeros(len(self.start), np.int64)


def shared_counts(first: SetStore, second: SetStore, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many values pairs of sets of two stores share, int64 ``[pairs]``.

    Fast where equal entries of ``left`` stand together.
    """
    return _shared_counts(left, first.values, first.start, first.size, right, second.values, second.start, second.size)


def fetch_sets(
    rows: Rows,
    text_key: str,
    positions: np.ndarray,
    sets_of: Callable[[pl.Series], Sets],
    memory_bytes: int,
) -> SetStore:
    """The sets of some rows, ``[positions]``.

    Args:
        rows: All rows. Texts are read some at a time, in their order.
        text_key: Field of the text.
        positions: Which rows, int64 ``[positions]``.
        sets_of: Makes the sets of some texts.
        memory_bytes: Sets that take more are written to a file in ``rows.scratch``, which is mapped.
    """
    order = np.argsort(positions, kind="stable")
    start, size = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.int64)
    held, used, done = np.empty(0, np.uint64), 0, 0
    path = rows.scratch / "sets.u64"
    for some, (values, at) in _batches(rows, text_key, positions, order, sets_of):
        start[some], size[some] = at[:-1] + done, np.diff(at)
        done += len(values)
        if done * values.itemsize > memory_bytes:
            with path.open("ab") as file:
                held[:used].tofile(file)
                values.tofile(file)
            held, used = np.empty(0, np.uint64), 0
            continue
        if done > len(held):
            held.resize(2 * done, refcheck=False)  # in place: pages never written take no memory
        held[used:done] = values
        used = done
    if used == done:
        return SetStore(held[:used], start, size)
    return SetStore(np.memmap(path, np.uint64, mode="r"), start, size)


def _batches(
    rows: Rows, text_key: str, positions: np.ndarray, order: np.ndarray, sets_of: Callable[[pl.Series], Sets]
) -> Iterator[tuple[np.ndarray, Sets]]:
    """Rows and their sets, in order; made of some texts while the next are read."""
    with ThreadPoolExecutor(_MAKERS) as pool:
        waiting = deque[tuple[np.ndarray, Future[Sets]]]()
        for begin in range(0, len(order), _ROWS_AT_ONCE):
            some = order[begin : begin + _ROWS_AT_ONCE]
            texts = rows.fetch(text_key, positions[some]).fill_null("")
            waiting.append((some, pool.submit(sets_of, texts)))
            if len(waiting) > _MAKERS:
                first, sets = waiting.popleft()
                yield first, sets.result()
        while waiting:
            first, sets = waiting.popleft()
            yield first, sets.result()


def jaccard(first: np.ndarray, second: np.ndarray) -> float:
    """Shared over all distinct values of two sets, 0 if one is empty.

    Example:
        >>> jaccard(np.array([1, 2, 3], np.uint64), np.array([2, 3, 4], np.uint64))
        0.5
    """
    both = SetStore.of(
        np.concatenate([first, second]).astype(np.uint64), np.array([0, len(first), len(first) + len(second)])
    )
    return float(both.similarity(np.array([0]), np.array([1]))[0])


@compiled
def fill(table: np.ndarray, values: np.ndarray) -> int:
    """Put a set into an empty part of a table; its size, a power of two, is returned. Zero is kept as one."""
    size = 16
    while size < 2 * len(values):
        size *= 2
    table[:size] = 0
    mask = np.uint64(size - 1)
    for value in values:
        value = max(value, np.uint64(1))
        slot = value & mask
        while table[slot] != 0 and table[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = value
    return size


@compiled
def shared_with(table: np.ndarray, size: int, values: np.ndarray, allowed: int) -> int:
    """How many values of a set are in a table; -1 as soon as more than ``allowed`` are not."""
    mask = np.uint64(size - 1)
    missing = 0
    for value in values:
        value = max(value, np.uint64(1))
        slot = value & mask
        while table[slot] != 0 and table[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] == 0:
            missing += 1
            if missing > allowed:
                return -1
    return len(values) - missing


@compiled
def room_for(size: np.ndarray) -> int:
    """Entries of a table that holds the largest of some sets."""
    longest, room = 0, 16
    for n in size:
        longest = max(longest, n)
    while room < 2 * longest:
        room *= 2
    return room


@compiled
def _similarities(
    first: np.ndarray,
    second: np.ndarray,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    table: np.ndarray,
) -> np.ndarray:
    out = np.zeros(len(first), np.float64)
    filled, used = -1, 0
    for i in range(len(first)):
        a, b = first[i], second[i]
        if size[a] == 0 or size[b] == 0:
            continue
        if a != filled:
            used = fill(table, values[start[a] : start[a] + size[a]])
            filled = a
        shared = shared_with(table, used, values[start[b] : start[b] + size[b]], size[b])
        out[i] = shared / (size[a] + size[b] - shared)
    return out


@compiled
def _shared_counts(
    left: np.ndarray,
    values: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    right: np.ndarray,
    others: np.ndarray,
    other_start: np.ndarray,
    other_size: np.ndarray,
) -> np.ndarray:
    out = np.zeros(len(left), np.int64)
    table = np.zeros(room_for(size), np.uint64)
    filled, used = -1, 0
    for i in range(len(left)):
        a, b = left[i], right[i]
        if a != filled:
            used = fill(table, values[start[a] : start[a] + size[a]])
            filled = a
        out[i] = shared_with(table, used, others[other_start[b] : other_start[b] + other_size[b]], other_size[b])
    return out
