"""Filters as predicates over measured columns: which column each decides by, and where its thresholds stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from plait.data.names import RESERVED
from plait.data.op import Filter, Op, RangeFilter
from plait.errors import UsageError, nearest

UNBOUNDED = 1e15
"""A threshold at least this far from zero is no bound: Data-Juicer writes ``sys.maxsize`` for none."""


@dataclass(frozen=True)
class Criterion:
    """A filter and the columns of the stats table it decides by.

    Args:
        name: Name in the recipe; a second use of a filter gets ``name@index``.
        op: The filter.
        stats: Columns it decides by.
        index: Place in the recipe, counting from 0.
    """

    name: str
    op: Filter
    stats: tuple[str, ...]
    index: int = 0

    @property
    def number(self) -> str:
        """The column that thresholds are about: of several stats the last, as in ``lang``, ``lang_score``."""
        return self.stats[-1]

    def range(self) -> RangeFilter:
        """The filter, if it is one that keeps a range.

        Raises:
            UsageError: It decides otherwise, so it has no thresholds to move.
        """
        if not isinstance(self.op, RangeFilter):
            raise UsageError(f"{self.name} keeps no range, so it has no thresholds", code="study.no-thresholds")
        return self.op


def criteria(ops: Sequence[tuple[str, Op]]) -> list[Criterion]:
    """The filters of a recipe that measure something, with their columns named as a plan names them.

    Args:
        ops: Names and operations in the order of the recipe, as `plait.data.plan.read_ops` gives them.
    """
    found = list[Criterion]()
    names, taken = set[str](), set(RESERVED)
    for index, (name, op) in enumerate(ops):
        if not isinstance(op, Filter) or not op.stats:
            continue
        stats = tuple(f"{stat}@{index}" if stat in taken else stat for stat in op.stats)
        taken.update(stats)
        found.append(Criterion(f"{name}@{index}" if name in names else name, op, stats, index))
        names.add(found[-1].name)
    return found


def pick(among: Sequence[Criterion], name: str) -> Criterion:
    """The criterion of that name.

    Raises:
        UsageError: There is none.
    """
    for criterion in among:
        if criterion.name == name:
            return criterion
    known = nearest(name, [c.name for c in among])
    raise UsageError(f'no filter "{name}" measures anything here', code="study.unknown-filter", hint=known)


@dataclass(frozen=True)
class Thresholds:
    """The fields of a range filter that set its bounds, and their values; ``None`` where there is none.

    Args:
        low_field: Field of the lower bound.
        high_field: Field of the upper bound.
        low: Lowest value kept, ``None`` if nothing is too low.
        high: Highest value kept, ``None`` if nothing is too high.
    """

    low_field: str | None
    high_field: str | None
    low: float | None
    high: float | None


def thresholds(op: RangeFilter) -> Thresholds:
    """Where a filter's bounds stand.

    A field is a threshold if moving it moves a bound, so filters need not say which of their settings are.

    Example:
        >>> from plait.data.ops.filters.characters import TextLengthFilter
        >>> thresholds(TextLengthFilter(min_len=120))
        Thresholds(low_field='min_len', high_field='max_len', low=120, high=None)
    """
    low, high = op.bounds()
    fields: list[str | None] = [None, None]
    for name in type(op).model_fields:
        value = getattr(op, name)
        if not _kinds(op, name) & {int, float} or isinstance(value, bool | str):
            continue
        other = 1.25 if value is None or value == 2.5 else value / 2 + 1.25
        moved = op.model_copy(update={name: other}).bounds()
        for side in (0, 1):
            if fields[side] is None and moved[side] != (low, high)[side]:
                fields[side] = name
    return Thresholds(fields[0], fields[1], _bounded(low), _bounded(high))


def bounded_sides(op: RangeFilter, values: np.ndarray) -> list[str]:
    """The tails that a filter cuts: ``low``, ``high``, both or none.

    A bound that nobody set and that drops nothing cuts none: a share is never below its default of 0, so that a
    recipe with a `max_ratio` alone is about the high tail alone.

    Args:
        op: The filter.
        values: Its finite numbers.
    """
    place = thresholds(op)
    low = place.low is not None and (place.low_field in op.model_fields_set or bool((values < place.low).any()))
    high = place.high is not None and (place.high_field in op.model_fields_set or bool((values > place.high).any()))
    return [side for side, cuts in (("low", low), ("high", high)) if cuts]


def with_bounds(
    op: RangeFilter, *, low: float | None = None, high: float | None = None, whole: bool = True
) -> RangeFilter:
    """The filter with other thresholds; ``None`` leaves one as it is.

    A threshold that the filter takes as a whole number is rounded: so that the same values are kept if all
    values are whole (`whole`), otherwise outwards, so that nothing more is dropped.

    Raises:
        UsageError: The filter has no such threshold.
    """
    found = thresholds(op)
    changes = dict[str, float | int]()
    for field, value, closed, is_low in (
        (found.low_field, low, op.min_closed_interval, True),
        (found.high_field, high, op.max_closed_interval, False),
    ):
        if value is None:
            continue
        if field is None:
            side = "lower" if is_low else "upper"
            raise UsageError(f"{type(op).__name__} has no {side} threshold", code="study.no-thresholds")
        takes_whole = float not in _kinds(op, field)
        up = is_low == (closed if whole else op.reversed_range)
        changes[field] = (math.ceil(value) if up else math.floor(value)) if takes_whole else float(value)
    return type(op).model_validate(op.model_dump(exclude_unset=True) | changes)


def takes_whole(op: RangeFilter) -> bool:
    """Whether all thresholds of a filter are whole numbers."""
    place = thresholds(op)
    fields = [field for field in (place.low_field, place.high_field) if field]
    return bool(fields) and all(float not in _kinds(op, field) for field in fields)


def _kinds(op: RangeFilter, field: str) -> set[Any]:
    """The types that a field takes."""
    annotation = type(op).model_fields[field].annotation
    return set(get_args(annotation)) or {annotation}


def _bounded(value: float | None) -> float | None:
    return None if value is None or abs(value) >= UNBOUNDED else value
