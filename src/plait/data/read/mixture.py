"""Which rows of an input are taken: a share, a number, or the first ones; the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from plait.errors import UsageError

SEED = 42


def rows_by_weight(rows: int, weight: float) -> int:
    """How many rows a weight asks for.

    Example:
        >>> rows_by_weight(10, 0.25), rows_by_weight(10, 1.5)
        (3, 15)
    """
    return ceil(rows * weight)


def shared_out(weights: Sequence[float], most: int) -> list[int]:
    """How many rows of each source make ``most`` together.

    Raises:
        UsageError: All weights are 0.

    Example:
        >>> shared_out([1, 1, 1], 10)
        [4, 4, 2]

    Source: Data-Juicer 1.6.1, ``max_sample_num``: each share is rounded up, the last ones get what is left.
    """
    total = sum(weights)
    if total <= 0:
        raise UsageError("all weights are 0", code="data.weights", hint="give at least one source a weight above 0")
    left, shares = most, list[int]()
    for weight in weights:
        share = min(ceil(most * (weight / total)), left)
        shares.append(share)
        left -= share
    return shares


def times_taken(rows: int, taken: int) -> np.ndarray:
    """How often each of ``rows`` rows is taken so that ``taken`` are taken in all, int32 ``[rows]``.

    Every row is taken equally often, and those that remain once more: the first ones of a shuffle with seed 42. They
    are the rows that Data-Juicer takes, which also hands them on in the shuffled order; here they keep their
    order. Needs 8 bytes a row.

    Example:
        >>> times_taken(4, 2).tolist(), times_taken(4, 6).tolist()
        ([0, 0, 1, 1], [1, 1, 2, 2])

    Source: Data-Juicer 1.6.1, ``random_sample``.
    """
    if rows == 0:
        return np.zeros(0, np.int32)
    times = np.full(rows, taken // rows, np.int32)
    shuffled = np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)
    np.random.default_rng(SEED).shuffle(shuffled)
    times[shuffled[: taken % rows]] += 1
    return times
