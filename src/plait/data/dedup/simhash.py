"""SimHash: 64 bits of which similar texts share most, and all pairs that differ in few.

Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms"; Manku et al. 2007, "Detecting
near-duplicates for web crawling", section 3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.dedup.crowded import MANY, parts_of
from plait.data.dedup.unions import join, root_of
from plait.data.loops import compiled
from plait.data.utf8 import starts_of

if TYPE_CHECKING:
    import polars as pl

    from plait.data.dedup.groups import Groups
    from plait.data.dedup.tokens import Shingling

BITS = 64
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_START = np.uint64(0xCBF29CE484222325)
_SHIFT = np.uint64(32)


def simhashes(shingles: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The majority of each bit over the shingles of each text, repeats included; uint64 ``[texts]``.

    Args:
        shingles: Hashes, uint64 ``[shingles]``.
        starts: Where each text starts, int64 ``[texts + 1]``.

    Returns:
        0 for a text without shingles; a bit is set if more shingles have it than have not.
    """
    return _simhashes(shingles, starts)


def md5_shingles(texts: pl.Series, shingling: Shingling) -> tuple[np.ndarray, np.ndarray]:
    """Shingles as Data-Juicer hashes them, by the first eight bytes of their MD5; Python, row by row."""
    hashes = [[_md5(shingle) for shingle in shingling.strings(text)] for text in texts.to_list()]
    starts = starts_of(np.array([len(some) for some in hashes], np.int64))
    return np.array([value for some in hashes for value in some], np.uint64), starts


def block_masks(blocks: int, distance: int) -> list[int]:
    """Bits to agree on: hashes that differ in at most ``distance`` bits agree on one of these masks entirely.

    The bits are cut into blocks; at most ``distance`` blocks differ, so the others are equal.

    Example:
        >>> len(block_masks(6, 4)), hex(block_masks(4, 3)[0])
        (15, '0xffff')
    """
    edges = [i * BITS // blocks for i in range(blocks + 1)]
    masks = [((1 << b) - 1) ^ ((1 << a) - 1) for a, b in pairwise(edges)]
    return [sum(chosen) for chosen in combinations(masks, blocks - distance)]


def masked(mask: int, *, zeros: bool) -> Callable[[np.ndarray], np.ndarray]:
    """What makes sortable keys of hashes, uint64 ``[rows, 1]``: equal where they agree on a mask.

    Args:
        mask: The bits.
        zeros: Whether hashes that are 0 agree with each other; if not, their key is 0.
    """

    def change(hashes: np.ndarray) -> np.ndarray:
        mixed = ((hashes & np.uint64(mask)) ^ _START) * _PRIME
        mixed = np.maximum((mixed ^ (mixed >> _SHIFT)) * _PRIME, np.uint64(1))
        return mixed if zeros else np.where(hashes == 0, np.uint64(0), mixed)

    return change


def connect(hashes: np.ndarray, groups: Iterator[Groups], distance: int, parent: np.ndarray) -> tuple[int, int]:
    """Join the rows of each group whose hashes differ in few bits; of large groups, not all pairs are compared.

    Args:
        hashes: uint64 ``[rows]``.
        groups: Rows that may be similar.
        distance: Most bits that differ; 0 joins all rows of a group, which must be equal.
        parent: Union-find over rows, changed.

    Returns:
        Pairs compared, and pairs joined.
    """
    counts = np.zeros(2, np.int64)
    for some in groups:
        size = np.diff(some.starts)
        crowded = np.flatnonzero(size > MANY) if distance else size[:0]
        for group in crowded.tolist():
            members = some.members[some.starts[group] : some.starts[group + 1]]
            # Equal hashes are one cluster already, and one row stands for them.
            different, first = np.unique(hashes[members], return_index=True)
            for part in parts_of(different, distance):
                _connect(hashes, members[first[part]], np.array([0, len(part)]), distance, parent, counts)
        size[crowded] = 0
        members = some.members[np.repeat(size > 0, np.diff(some.starts))]
        _connect(hashes, members, np.concatenate([[0], np.cumsum(size)]), distance, parent, counts)
    return int(counts[0]), int(counts[1])


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of bits that differ, int64.

    Example:
        >>> distances(np.array([0b1011], np.uint64), np.array([0b0010], np.uint64))
        array([2])
    """
    return np.bitwise_count(first ^ second).astype(np.int64)


def _md5(shingle: str) -> int:
    return int.from_bytes(hashlib.md5(shingle.encode(), usedforsecurity=False).digest()[:8], "big")


@compiled
def _simhashes(shingles: np.ndarray, starts: np.ndarray) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.uint64)
    bits = np.arange(BITS).astype(np.uint64)
    counts = np.zeros(BITS, np.uint64)
    one = np.uint64(1)
    for d in range(len(out)):
        counts[:] = 0
        for i in range(starts[d], starts[d + 1]):
            value = shingles[i]
            for bit in range(BITS):
                counts[bit] += (value >> bits[bit]) & one
        half = np.uint64(starts[d + 1] - starts[d])
        found = np.uint64(0)
        for bit in range(BITS):
            if counts[bit] + counts[bit] > half:
                found |= one << bits[bit]
        out[d] = found
    return out


@compiled
def _bits(value: Any) -> Any:
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + ((value >> np.uint64(2)) & np.uint64(0x3333333333333333))
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _connect(
    hashes: np.ndarray, members: np.ndarray, starts: np.ndarray, distance: int, parent: np.ndarray, counts: np.ndarray
) -> None:
    longest = 0
    for g in range(len(starts) - 1):
        longest = max(longest, starts[g + 1] - starts[g])
    rows = np.empty(longest, np.int64)
    for g in range(len(starts) - 1):
        if distance == 0:
            for i in range(starts[g] + 1, starts[g + 1]):
                join(parent, members[starts[g]], members[i])
            counts[1] += starts[g + 1] - starts[g] - 1
            continue
        # Equal hashes are one cluster already, and one row stands for them.
        n = 0
        order = np.argsort(hashes[members[starts[g] : starts[g + 1]]])
        for i in range(len(order)):
            row = members[starts[g] + order[i]]
            if n == 0 or hashes[row] != hashes[rows[n - 1]]:
                rows[n] = row
                n += 1
        for i in range(n):
            for j in range(i):
                counts[0] += 1
                if _bits(hashes[rows[i]] ^ hashes[rows[j]]) <= distance:
                    counts[1] += 1
                    if root_of(parent, rows[i]) != root_of(parent, rows[j]):
                        join(parent, rows[i], rows[j])
