"""Compiled loops that look for runs of items (characters, words) that repeat within a text.

Runs are compared by 64-bit rolling hashes. A first pass throws the runs into slots, eight for each: what is alone in
its slot is alone in the text, and how full the fullest slots are bounds the share of repeated runs from above. The
exact count then needs a table for the few runs that share a slot, so small that it stays in the fastest memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from plait.data.bits import ALL, NONE, ONE
from plait.data.loops import compiled
from plait.data.swar import eight
from plait.data.utf8 import buffers, point, width

if TYPE_CHECKING:
    import polars as pl

_MIX = np.uint64(0xBF58476D1CE4E5B9)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_EXACTLY = -1.0
_STRETCH = 128  # runs between two looks at whether the bound is tight enough


def repetition(values: np.ndarray, starts: np.ndarray, size: int, *, top: bool) -> np.ndarray:
    """Share of n-grams that repeat, float64 ``[texts]``.

    Args:
        values: Items of all texts, unsigned integers ``[items]``.
        starts: Where each text starts, int64 ``[texts + 1]``.
        size: Items per n-gram.
        top: Count only the ⌊√distinct⌋ most frequent of the repeated n-grams (Data-Juicer's rule for
            characters); otherwise all repeated ones (its rule for words).
    """
    return _repetition(values, starts, size, top, False)


def repetition_bound(values: np.ndarray, starts: np.ndarray, size: int, *, top: bool = False) -> np.ndarray:
    """An upper bound on `repetition` at a third of its cost, float64 ``[texts]``."""
    return _repetition(values, starts, size, top, True)


def character_repetition(texts: pl.Series, size: int) -> np.ndarray:
    """`repetition` of characters, the ⌊√distinct⌋ most frequent ones, float64 ``[texts]``."""
    return _character_repetition(*buffers(texts), size, _EXACTLY)


def character_repetition_bound(texts: pl.Series, size: int, enough: float = 0.0) -> np.ndarray:
    """`repetition_bound` of characters, float64 ``[texts]``.

    Args:
        texts: The texts.
        size: Characters per n-gram.
        enough: A bound that is no greater need not be tighter.
    """
    return _character_repetition(*buffers(texts), size, enough)


@compiled
def _power(size: int) -> Any:
    power = ONE
    for _ in range(size):
        power *= _BASE
    return power


@compiled
def _slots(total: int) -> int:
    slots = 1 << 10
    while slots < 8 * total:
        slots *= 2
    return slots


@compiled
def _quick_bound(data: np.ndarray, start: int, end: int, size: int, enough: float, seen: np.ndarray) -> float:
    """An upper bound on `_exact` of characters with ``top``, from how many runs meet a slot that is taken.

    At least so many are not the first of their kind, and the k most frequent runs occur k times more often than that
    at most. Runs that are not looked at count as if they met one, so it ends where these are few ``enough``.

    A run is told by the first and last eight of its first ``size`` bytes, which equal runs share; so no step waits for
    the one before, and nothing is to guess for the processor. Inside of a character begins no run: what is met there
    makes the bound greater, and so does what follows the last place that has eight bytes.
    """
    length = 0
    for byte in data[start:end]:
        length += (byte & 0xC0) != 0x80
    total = length - size + 1
    if total <= 0:
        return 0.0
    seen[:] = 0
    mask = np.uint64(len(seen) - 1)
    own = ALL >> np.uint64(max(0, 64 - 8 * size))
    last = max(0, size - 8)
    stop = end - last - 7
    met = NONE
    bound = 1.0
    for at in range(start, stop, _STRETCH):
        reached = min(at + _STRETCH, stop)
        for i in range(at, reached):
            h = (eight(data, i) & own) * _BASE + (eight(data, i + last) & own)
            slot = ((h ^ (h >> _SHIFT)) * _MIX >> _SHIFT) & mask
            met += np.uint64(seen[slot])
            seen[slot] = 1
        left = max(0, end - size + 1 - reached)
        bound = (np.int64(met) + left + np.int64(np.sqrt(total))) / total
        if bound <= enough:
            break
    return bound


@compiled
def _bound(values: np.ndarray, start: int, length: int, size: int, power: int, top: bool, seen: np.ndarray) -> float:
    """An upper bound on `_exact`; ``seen`` has a power of two of slots and is cleared here."""
    total = length - size + 1
    seen[:] = 0
    mask = np.uint64(len(seen) - 1)
    h = NONE
    # of[c] slots hold c runs; what a full slot cannot count is added on top.
    of = np.zeros(257, np.int64)
    beyond = 0
    gone = NONE
    for i in range(start, start + size - 1):
        h = h * _BASE + np.uint64(values[i])
    for i in range(start + size - 1, start + length):
        h = h * _BASE + (np.uint64(values[i]) - power * gone)
        slot = ((h ^ (h >> _SHIFT)) * _MIX >> _SHIFT) & mask
        count = np.int64(seen[slot])
        if count == 0:
            seen[slot] = 1
        elif count == 255:
            beyond += 1
        else:
            seen[slot] = count + 1
            of[count] -= 1
            of[count + 1] += 1
        gone = np.uint64(values[i - size + 1])
    # The k most frequent runs are in k slots at most, and so are no more than the k fullest slots hold.
    left = np.int64(np.sqrt(total)) if top else total
    shared = beyond
    for count in range(255, 1, -1):
        taken = min(of[count], left)
        shared += taken * count
        left -= taken
    return shared / total


@compiled
def _exact(
    values: np.ndarray, start: int, length: int, size: int, power: int, top: bool, seen: np.ndarray, runs: np.ndarray
) -> float:
    """Share of the runs of one text that repeat; ``runs`` is room for their hashes."""
    total = length - size + 1
    seen[:] = 0
    mask = np.uint64(len(seen) - 1)
    h = NONE
    shared = 0
    gone = NONE
    for i in range(start, start + size - 1):
        h = h * _BASE + np.uint64(values[i])
    for k in range(total):
        i = start + size - 1 + k
        h = h * _BASE + (np.uint64(values[i]) - power * gone)
        mixed = (h ^ (h >> _SHIFT)) * _MIX
        runs[k] = mixed
        slot = (mixed >> _SHIFT) & mask
        count = seen[slot]
        shared += np.int64(count != 0) + np.int64(count == 1)
        seen[slot] = 1 + np.int64(count != 0)
        gone = np.uint64(values[i - size + 1])
    if shared == 0:
        return 0.0
    # Where two runs differ their mixed hashes do, too: mixing is a bijection.
    found = 0
    for k in range(total):
        runs[found] = runs[k]
        found += np.int64(seen[(runs[k] >> _SHIFT) & mask] > 1)
    distinct, repeated, repeats, counts = _count(runs, found)
    most = min(int(np.sqrt(total - found + distinct)), repeated)
    if not top or most == repeated:
        return repeats / total
    several = counts[counts > 1]
    several.sort()
    return several[repeated - most :].sum() / total


@compiled
def _count(runs: np.ndarray, found: int) -> tuple[int, int, int, np.ndarray]:
    """Distinct ones of the first ``found`` hashes, those that repeat, their occurrences, and all counts by slot."""
    slots = 16
    while slots < 2 * found:
        slots *= 2
    mask = np.uint64(slots - 1)
    keys = np.empty(slots, np.uint64)
    counts = np.zeros(slots, np.int32)
    distinct = repeated = repeats = 0
    for k in range(found):
        run = runs[k]
        slot = run & mask
        while counts[slot] != 0 and keys[slot] != run:
            slot = (slot + ONE) & mask
        count = counts[slot] + 1
        counts[slot] = count
        if count == 1:
            keys[slot] = run
            distinct += 1
        elif count == 2:
            repeated += 1
            repeats += 2
        else:
            repeats += 1
    return distinct, repeated, repeats, counts


@compiled
def _repetition(values: np.ndarray, starts: np.ndarray, size: int, top: bool, bound: bool) -> np.ndarray:
    out = np.zeros(len(starts) - 1, np.float64)
    power = _power(size)
    seen = np.empty(1, np.uint8)
    runs = np.empty(0 if bound else max(1, (starts[1:] - starts[:-1]).max() if len(out) else 1), np.uint64)
    for d in range(len(out)):
        start, length = starts[d], starts[d + 1] - starts[d]
        if length < size:
            continue
        slots = _slots(length - size + 1)
        if slots > len(seen):
            seen = np.empty(slots, np.uint8)
        if bound:
            out[d] = _bound(values, start, length, size, power, top, seen[:slots])
        else:
            out[d] = _exact(values, start, length, size, power, top, seen[:slots], runs)
    return out


@compiled
def _character_repetition(data: np.ndarray, starts: np.ndarray, size: int, enough: float) -> np.ndarray:
    """Texts of ASCII alone are read as they are; others are decoded into a scratch buffer one by one."""
    out = np.zeros(len(starts) - 1, np.float64)
    power = _power(size)
    longest = max(1, (starts[1:] - starts[:-1]).max() if len(out) else 1)
    seen = np.empty(_slots(longest), np.uint8)
    points = np.empty(longest, np.uint32)
    runs = np.empty(longest if enough < 0 else 1, np.uint64)
    for d in range(len(out)):
        start, end = starts[d], starts[d + 1]
        bound = np.inf
        if enough >= 0:
            bound = _quick_bound(data, start, end, size, enough, seen[: _slots(end - start) // 2])
            if bound <= enough:
                out[d] = bound
                continue
        length = 0
        i = start
        while i < end:
            points[length] = point(data, i)
            i += width(data[i])
            length += 1
        if length < size:
            continue
        own = seen[: _slots(length - size + 1)]
        if enough < 0:
            out[d] = _exact(points, 0, length, size, power, True, own, runs)
        else:
            out[d] = min(bound, _bound(points, 0, length, size, power, True, own))
    return out
