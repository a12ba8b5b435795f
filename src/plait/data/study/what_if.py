"""What another threshold would keep: each filter is a predicate over a column that is already there.

A row is kept if it fails no filter. How many filters each row fails is counted once, so that moving one
threshold looks at one column: milliseconds for a million rows.

Duplicates are not decided again: which of them stay depends on what the filters leave, so the figures are those of
the filters alone. Rows that an operation without a number dropped stay dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from plait.data.batch import Batch
from plait.data.loops import compiled
from plait.data.op import Filter, Op, RangeFilter
from plait.data.study.criteria import Criterion, criteria, pick, thresholds, with_bounds
from plait.data.study.facts import Fact
from plait.data.study.table import StatsTable
from plait.errors import UsageError


class Share(Fact):
    """How much of something stays."""

    rows: int
    """Rows there are."""
    kept: int
    """Rows that stay."""
    chars: int | None = None
    """Characters there are, if the table says."""
    chars_kept: int | None = None
    """Characters that stay."""
    tokens: int | None = None
    """Tokens there are, if ``num_token`` was measured for every row."""
    tokens_kept: int | None = None
    """Tokens that stay."""

    @property
    def rate(self) -> float:
        """Share of the rows that stay; 0 where there are none."""
        return self.kept / self.rows if self.rows else 0.0


class Kept(Fact):
    """What a set of thresholds keeps."""

    overall: Share
    """All rows."""
    sources: dict[str, Share]
    """By source."""


class Overlap(Fact):
    """Which rows filters drop together."""

    names: list[str]
    """The filters."""
    dropped: list[int]
    """Rows each would drop if it were alone."""
    alone: list[int]
    """Rows that it drops and no other filter does."""
    both: list[list[int]]
    """Rows that the filters of row and column both drop."""

    def share(self, first: str, second: str) -> float:
        """Share of the rows dropped by the first that the second drops too; 0 if the first drops none."""
        a, b = self.names.index(first), self.names.index(second)
        return self.both[a][b] / self.dropped[a] if self.dropped[a] else 0.0


class BorderRow(Fact):
    """A row whose value lies close to a threshold."""

    position: int
    """Place in the input, counting from 0."""
    id: str
    """Its id."""
    source: str
    """Its source; empty if the table has none."""
    value: float
    """What was measured."""
    threshold: float
    """The threshold it is close to."""
    kept: bool
    """Whether the range keeps it."""


class WhatIf:
    """Asks a stats table what other thresholds would keep.

    `there` tells the rows that thresholds decide on, bool ``[rows]``.

    Args:
        table: The stats table, complete for all filters.
        filters: The filters of the recipe, from `plait.data.study.criteria.criteria`.
        gone: By operation that measures nothing, the rows that stay dropped, as `StatsTable.gone` finds them.

    Raises:
        DataError: A stat is not known for every row.

    Example:
        >>> import polars as pl
        >>> from plait.data.ops.filters.characters import TextLengthFilter
        >>> from plait.data.study.criteria import criteria
        >>> table = StatsTable(pl.DataFrame({"text_len": [3.0, 30.0, 300.0]}))
        >>> what_if = WhatIf(table, criteria([("text_length_filter", TextLengthFilter())]))
        >>> what_if.keep().overall.kept, what_if.move("text_length_filter", low=100).overall.kept
        (2, 1)
    """

    def __init__(
        self, table: StatsTable, filters: Sequence[Criterion], gone: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.table = table
        self.filters = list(filters)
        self.gone = dict(gone or {})
        self.there = np.ones(table.rows, np.bool_)
        for rows in self.gone.values():
            self.there &= ~rows
        table.check_complete(filters, self.there)
        self._fails = {c.name: ~self.passes(c) & self.there for c in self.filters}
        self._failures = (~self.there).astype(np.uint16)
        for fails in self._fails.values():
            self._failures += fails
        self._totals = self._sums(np.ones(table.rows, np.bool_))

    @classmethod
    def of_recipe(cls, table: StatsTable, ops: Sequence[tuple[str, Op]]) -> WhatIf:
        """Asks about all filters of a recipe.

        Args:
            table: The stats table that a study of the recipe left.
            ops: The recipe, as `plait.data.plan.read_ops` gives it.
        """
        return cls(table, criteria(ops), table.gone(ops))

    def values(self, criterion: Criterion) -> np.ndarray:
        """The number a filter decides by, float64 ``[rows]``; NaN where it is not known or the row stays dropped."""
        values = self.table.numbers(criterion.number)
        return values if self.there.all() else np.where(self.there, values, np.nan)

    def passes(self, criterion: Criterion, op: Filter | None = None) -> np.ndarray:
        """Whether a filter alone would keep each row, bool ``[rows]``.

        Args:
            criterion: The filter.
            op: Decide with these settings instead.
        """
        op = op or criterion.op
        columns = dict[str, Any]()
        for plain, stat in zip(op.stats, criterion.stats, strict=True):
            numeric = self.table.schema[stat].is_numeric()
            columns[plain] = self.table.numbers(stat) if numeric else self.table.column(stat)
        fields = [self.table.column(s).alias(p) for p, s in zip(op.stats, criterion.stats, strict=True)]
        return np.asarray(op.keeps(Batch(pl.DataFrame(fields)), columns), np.bool_)

    def mask(self, changes: Mapping[str, Filter] | None = None) -> np.ndarray:
        """Whether each row stays, bool ``[rows]``, with some filters changed."""
        left = self._failures
        passing = list[np.ndarray]()
        for name, op in (changes or {}).items():
            left = left - self._fails[pick(self.filters, name).name]
            passing.append(self.passes(pick(self.filters, name), op))
        kept = left == 0
        for passes in passing:
            kept &= passes
        return kept

    def keep(self, changes: Mapping[str, Filter] | None = None) -> Kept:
        """What the recipe keeps, with some filters changed.

        Args:
            changes: Filters by name, with their new settings.
        """
        return self.count(self.mask(changes))

    def changed(self, changes: Mapping[str, Filter]) -> WhatIf:
        """The same table asked with some filters changed for good."""
        filters = [replace(c, op=changes.get(c.name, c.op)) for c in self.filters]
        return WhatIf(self.table, filters, self.gone)

    def with_settings(self, settings: Mapping[str, Mapping[str, Any]]) -> WhatIf:
        """The same table asked with some settings changed for good.

        Args:
            settings: By filter: the settings that change.
        """
        changes = dict[str, Filter]()
        for name, values in settings.items():
            op = pick(self.filters, name).op
            changes[name] = type(op).model_validate(op.model_dump(exclude_unset=True) | dict(values))
        return self.changed(changes)

    def move(self, name: str, *, low: float | None = None, high: float | None = None) -> Kept:
        """What is kept if one filter's thresholds move; ``None`` leaves one where it is."""
        op = pick(self.filters, name).range()
        return self.keep({name: with_bounds(op, low=low, high=high)})

    def count(self, kept: np.ndarray) -> Kept:
        """The figures of a mask, bool ``[rows]``."""
        sums = self._sums(kept)
        names = self.table.sources().names
        shares = [
            Share(**{k: int(v[at]) for k, v in self._totals.items()},
                  **{_KEPT[k]: int(v[at]) for k, v in sums.items()})
            for at in range(len(names))
        ]  # fmt: skip
        overall = Share(
            **{k: int(v.sum()) for k, v in self._totals.items()},
            **{_KEPT[k]: int(v.sum()) for k, v in sums.items()},
        )
        return Kept(overall=overall, sources=dict(zip(names, shares, strict=True)) if len(names) > 1 else {})

    def overlap(self) -> Overlap:
        """Which rows the filters drop together."""
        names = [c.name for c in self.filters]
        packed = np.stack([np.packbits(self._fails[n]) for n in names]) if names else np.zeros((0, 0), np.uint8)
        both = [[int(np.bitwise_count(a & b).sum()) for b in packed] for a in packed]
        single = self._failures == 1
        alone = [int(np.count_nonzero(self._fails[n] & single)) for n in names]
        return Overlap(names=names, dropped=[both[i][i] for i in range(len(names))], alone=alone, both=both)

    def border(self, name: str, *, count: int = 10, op: RangeFilter | None = None) -> list[BorderRow]:
        """The rows closest to a filter's thresholds, half of them kept and half dropped where there are as many.

        Args:
            name: The filter.
            count: Rows, at most.
            op: Its thresholds with these settings instead.
        """
        criterion = pick(self.filters, name)
        op = op or criterion.range()
        bounds = thresholds(op)
        lines = [line for line in (bounds.low, bounds.high) if line is not None]
        if not lines:
            raise UsageError(f"{name} has no threshold set", code="study.no-thresholds", hint="set one first")
        values = self.values(criterion)
        apart = np.min([np.abs(values - line) for line in lines], axis=0)
        passes = op.inside(values)
        known = np.isfinite(values)
        sides = (passes & known, count // 2), (~passes & known, count - count // 2)
        chosen = np.concatenate([_nearest(apart, among, most) for among, most in sides])
        chosen = chosen[np.lexsort((chosen, values[chosen]))]
        named = zip(chosen.tolist(), self.table.ids(chosen), self.table.source_of(chosen), strict=True)
        return [
            BorderRow(
                position=at, id=row_id, source=source, value=float(values[at]),
                threshold=min(lines, key=lambda line, at=at: abs(values[at] - line)), kept=bool(passes[at]),
            )
            for at, row_id, source in named
        ]  # fmt: skip

    def _sums(self, kept: np.ndarray) -> dict[str, np.ndarray]:
        """By source: rows, characters and tokens of a mask."""
        sources = self.table.sources()
        amounts = dict[str, np.ndarray]()
        chars = self.table.chars()
        if chars is not None:
            amounts["chars"] = chars
        if self.table.has("num_token") and not self.table.column("num_token").null_count():
            amounts["tokens"] = self.table.numbers("num_token")
        # One pass each: this is what a question about a threshold waits for.
        sums = {name: _summed(sources.codes, kept, amount, len(sources.names)) for name, amount in amounts.items()}
        return {"rows": _counted(sources.codes, kept, len(sources.names))} | sums


_KEPT = {"rows": "kept", "chars": "chars_kept", "tokens": "tokens_kept"}


def _nearest(apart: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    rows = np.flatnonzero(among)
    if len(rows) > count:
        rows = rows[np.argpartition(apart[rows], count)[:count]] if count else rows[:0]
    return rows


@compiled
def _counted(codes: np.ndarray, kept: np.ndarray, sources: int) -> np.ndarray:
    out = np.zeros(sources, np.int64)
    for row in range(len(kept)):
        out[codes[row]] += kept[row]
    return out


@compiled
def _summed(codes: np.ndarray, kept: np.ndarray, amounts: np.ndarray, sources: int) -> np.ndarray:
    out = np.zeros(sources, np.int64)
    for row in range(len(kept)):
        if kept[row]:
            out[codes[row]] += np.int64(amounts[row])
    return out
