"""Where to cut a column of numbers in two: at a share of rows, or where labels change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cut:
    """A threshold that labels ask for.

    Args:
        name: The column.
        side: ``low`` if what is below it is dropped, ``high`` if what is above it is.
        value: The threshold.
        gain: Labelled rows it puts on their right side, less those it puts on the wrong one.
        why: The evidence in words.
    """

    name: str
    side: str
    value: float
    gain: int
    why: str


def threshold_at(values: np.ndarray, kept: np.ndarray, *, low: bool, closed: bool) -> float:
    """The threshold that parts values, where those kept lie on one side of those that are not.

    Args:
        values: float64 ``[rows]``.
        kept: Which of them stay, bool ``[rows]``.
        low: Whether small values are dropped.
        closed: Whether a value equal to the threshold stays.

    Example:
        >>> threshold_at(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]), low=True, closed=False)
        1.0
    """
    inside, outside = values[kept], values[~kept]
    if closed or not len(outside):
        end = (inside.min() if low else inside.max()) if len(inside) else (np.inf if low else -np.inf)
        return float(end if closed else np.nextafter(end, -np.inf if low else np.inf))
    return float(outside.max() if low else outside.min())


def greedy_cuts(
    columns: Mapping[str, np.ndarray], sides: Sequence[tuple[str, str]], good: np.ndarray, *, least_gain: int
) -> list[Cut]:
    """Thresholds that drop bad rows and keep good ones, the most useful first.

    Args:
        columns: Numbers of the labelled rows by name, float64 ``[labels]``.
        sides: ``(name, "low" | "high")`` that may be cut.
        good: The labels, bool ``[labels]``.
        least_gain: Fewest rows a cut must put right.

    Example:
        >>> column = np.array([1.0, 2.0, 8.0, 9.0])
        >>> [cut] = greedy_cuts({"x": column}, [("x", "low")], np.array([False, False, True, True]), least_gain=2)
        >>> cut.value, cut.gain
        (5.0, 2)
    """
    left = np.ones(len(good), np.bool_)
    cuts = list[Cut]()
    open_sides = list(sides)
    while open_sides:
        found = [_best(columns[name][left], good[left], name, side) for name, side in open_sides]
        best = max(found, key=lambda cut: cut.gain)
        if best.gain < max(least_gain, 1):
            break
        cuts.append(best)
        values = columns[best.name]
        left &= values >= best.value if best.side == "low" else values <= best.value
        open_sides.remove((best.name, best.side))
    return cuts


def _best(values: np.ndarray, good: np.ndarray, name: str, side: str) -> Cut:
    """The cut of one column that puts most rows right; of equal ones the one that drops fewest."""
    ordered = np.argsort(values if side == "low" else -values, kind="stable")
    sorted_values, worth = values[ordered], np.where(good[ordered], -1, 1)
    # Dropping the first n rows gains as many as there are bad among them, less the good ones.
    gains = np.concatenate([[0], np.cumsum(worth)])
    between = np.concatenate([[True], sorted_values[1:] != sorted_values[:-1], [False]])[: len(gains)]
    gains = np.where(between, gains, -1)
    at = int(np.argmax(gains))
    if at == 0:
        return Cut(name, side, -np.inf if side == "low" else np.inf, 0, "")
    value = float((sorted_values[at - 1] + sorted_values[at]) / 2)
    bad = int(np.count_nonzero(worth[:at] == 1))
    last, first = sorted_values[at - 1], sorted_values[at]
    why = f"drops {bad} labelled bad and {at - bad} labelled good; nearest values {last:.4g} and {first:.4g}"
    return Cut(name, side, value, int(gains[at]), why)
