"""Groups of hashes too large to compare all with all: cut further, by what close hashes agree on.

Hashes that differ in at most ``distance`` bits, with these bits cut into ``distance + 1`` blocks, agree on one block
entirely. Of a group that agrees on some bits already (pages of one template), the bits that still vary are cut so, and
the group is grouped again by each block. Any two close rows are together in one part at least; none is missed.

Source: Manku et al. 2007, "Detecting near-duplicates for web crawling", section 3, applied again to large groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MANY = 2_048
"""Rows that are compared all with all."""


def parts_of(hashes: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Parts of a group of hashes, in one of which at least any two close ones are.

    Args:
        hashes: Different ones, uint64 ``[rows]``.
        distance: Most bits in which close ones differ.

    Yields:
        Places of rows, int64, two or more: few, or those that cutting would not leave fewer pairs of.

    Example:
        >>> [part.tolist() for part in parts_of(np.array([1, 2, 7], np.uint64), 1)]
        [[0, 1, 2]]
    """
    yield from _parts(hashes, np.arange(len(hashes)), distance)


def _parts(hashes: np.ndarray, rows: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    cut = _regrouped(hashes[rows], distance) if len(rows) > MANY else None
    if cut is None:
        yield rows
        return
    for order, starts in cut:
        for begin, end in starts:
            yield from _parts(hashes, rows[order[begin:end]], distance)


def _regrouped(hashes: np.ndarray, distance: int) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """For each block of bits, an order of the hashes, and where in it those begin and end that agree, ``[groups, 2]``.

    ``None`` if that leaves more than half as many pairs: where most hashes agree on most blocks.
    """
    varying = np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(hashes ^ hashes[0]).reshape(1).view(np.uint8)))
    if len(varying) <= distance:
        return None
    found, pairs = list[tuple[np.ndarray, np.ndarray]](), 0
    for block in np.array_split(varying, distance + 1):
        bits = np.zeros(64, np.uint8)
        bits[block] = 1
        keys = hashes & np.packbits(bits).view(np.uint64)[0]
        order = np.argsort(keys, kind="stable")
        edges = np.concatenate([[0], np.flatnonzero(np.diff(keys[order])) + 1, [len(keys)]])
        groups = np.stack([edges[:-1], edges[1:]], axis=1)
        sizes = np.diff(edges)
        pairs += int((sizes * sizes).sum())
        found.append((order, groups[sizes > 1]))
    return found if 2 * pairs < len(hashes) ** 2 else None
