"""One pass over one chunk: mappers rewrite, filters drop, and every row's fate is noted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plait.data.batch import Batch
from plait.data.names import ROW, STATS
from plait.data.op import Barrier, Filter, Mapper, Op, RangeFilter, RewritingBarrier
from plait.data.plan import Group, Pass, Rewrite, Step

DROPPED_BY, VALUE, CHANGED = "dropped_by", "value", "changed"
"""Columns of `Visit.fates`: index of the operation that dropped the row (-1 while it is kept), the number it was
dropped for, and a bit for each operation that changed the row (those beyond the 63rd share the last)."""

SAMPLES = {
    "index": pl.Int16,
    "order": pl.UInt64,
    "id": pl.String,
    "value": pl.Float64,
    "before": pl.String,
    "after": pl.String,
}
"""Columns of `Visit.samples`."""

SAMPLED = 5
"""Rows sampled per operation."""

_SHOWN = 600  # characters of a sampled text
_KEPT = "__kept"  # in a study, whether a row is still kept


@dataclass
class Spent:
    """What one operation did in a visit.

    Args:
        seconds: Wall time.
        cpu_seconds: Of one processor, in the thread that asked; other processes of the machine do not count.
        read: Rows it looked at.
        kept: Rows left after it.
        failed: Rows that have no result because something went wrong; see `plait.data.op.Mapper.failures`.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    read: int = 0
    kept: int = 0
    failed: int = 0

    @classmethod
    def since(cls, clock: tuple[float, float], read: int, kept: int, failed: int = 0) -> Spent:
        """Spent since a `clock`."""
        wall, cpu = now()
        return cls(wall - clock[0], cpu - clock[1], read, kept, failed)

    def __iadd__(self, other: Spent) -> Spent:
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.read += other.read
        self.kept += other.kept
        self.failed += other.failed
        return self


def now() -> tuple[float, float]:
    """Wall time and processor time of this thread, in seconds."""
    return time.perf_counter(), time.thread_time()


@dataclass
class Visit:
    """What a pass made of a chunk.

    Args:
        batch: The rows kept, as the mappers left them.
        fates: One row per row of the chunk, in order: its ``id``, ``source`` and ``chars`` as it came in, `DROPPED_BY`,
            `VALUE`, `CHANGED`, and a column per stat, null where it was never needed.
        samples: Some of the rows that each operation dropped or changed: ``index``, ``order``, ``id``, ``value``,
            ``before``, ``after`` (null if dropped). The lowest of a hash of their ids, so that the samples of many
            chunks together are a fair sample of all rows, whatever the chunks.
        keys: By index of the barrier, what it decides by, for the rows kept.
        spent: By index of the operation.
    """

    batch: Batch
    fates: pl.DataFrame
    keys: dict[int, dict[str, Any]]
    samples: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SAMPLES))
    spent: dict[int, Spent] = field(default_factory=dict[int, Spent])


def visit(
    one: Pass,
    batch: Batch,
    *,
    states: Mapping[int, Path] | None = None,
    study: bool = False,
    carry: bool = False,
) -> Visit:
    """Run a pass over a chunk.

    Args:
        one: The pass.
        batch: The rows; `ROW` counts from 0.
        states: By index of a barrier, the file that it left for rewriting.
        study: Measure every number of every row, also of rows that are dropped, so that other thresholds can be
            tried without running again. What is kept does not change.
        carry: Keep what filters measure in the column `plait.data.names.STATS`, for operations that look at it.
    """
    notes, came_in = _Notes(batch, study=study, carry=carry), _identity(batch.frame)
    spent = dict[int, Spent]()
    for part in one.parts:
        match part:
            case Group():
                for step in part.filters:
                    batch = _filter(step, batch, notes, spent)
            case Rewrite():
                batch = _rewrite(part.step, batch, (states or {})[part.step.index], notes, spent)
            case Step():
                batch = _map(part, batch, notes, spent)
    if study and _KEPT in batch.frame.columns:
        batch = batch.where(batch.frame[_KEPT].to_numpy()).without(_KEPT)
    notes.leave(batch)
    keys = dict[int, dict[str, Any]]()
    for step in one.barriers:
        clock = now()
        assert isinstance(step.op, Barrier)
        keys[step.index] = dict(step.op.keys(batch))
        spent[step.index] = Spent.since(clock, len(batch), len(batch))
    fates = pl.DataFrame([*came_in.get_columns(), *notes.frame().get_columns()])
    return Visit(batch, fates, keys, notes.samples(), spent)


def _identity(frame: pl.DataFrame) -> pl.DataFrame:
    """What tells a row that came in from others: its id, its source, its length in characters."""
    told = [name for name in ("id", "source") if name in frame.columns and not frame.schema[name].is_nested()]
    columns = [pl.col(name).cast(pl.String) for name in told]
    if frame.schema.get("text") == pl.String:
        columns.append(pl.col("text").str.len_chars().cast(pl.Int64).alias("chars"))
    return frame.select(columns)


def _map(step: Step, batch: Batch, notes: _Notes, spent: dict[int, Spent]) -> Batch:
    assert isinstance(step.op, Mapper)
    clock = now()
    after = step.op.apply(batch)
    notes.note_changes(step, batch, after)
    if not np.array_equal(batch.frame[ROW].to_numpy(), after.frame[ROW].to_numpy()):
        after = _named(after)
    spent[step.index] = Spent.since(clock, len(batch), len(after), step.op.failures(after))
    return after


def _named(batch: Batch) -> Batch:
    """Rows that a mapper made of one row get its id with a number: ``id-0``, ``id-1`` and so on.

    At once, so that a name does not depend on which of the others a later filter drops.
    """
    frame = batch.frame
    if frame.schema.get("id", pl.List).is_nested():
        return batch
    name, of_one = pl.col("id").cast(pl.String), [ROW, "id"]
    numbered = pl.concat_str(name, pl.int_range(pl.len()).over(of_one), separator="-")
    return Batch(frame.with_columns(pl.when(pl.len().over(of_one) > 1).then(numbered).otherwise(name).alias("id")))


def _rewrite(step: Step, batch: Batch, state: Path, notes: _Notes, spent: dict[int, Spent]) -> Batch:
    assert isinstance(step.op, RewritingBarrier)
    clock = now()
    after = batch.with_text(step.op.text_key, step.op.rewrite(batch, state))
    notes.note_changes(step, batch, after)
    spent[step.index] = Spent.since(clock, len(batch), len(after))
    return after


def _filter(step: Step, batch: Batch, notes: _Notes, spent: dict[int, Spent]) -> Batch:
    op = step.op
    assert isinstance(op, Filter)
    clock = now()
    rows = batch.frame[ROW].to_numpy()
    unsettled = _unsettled(op, batch) if isinstance(op, RangeFilter) and not notes.exact else None
    part = batch if unsettled is None else batch.where(unsettled)
    measured = op.measure(part)
    kept = np.ones(len(batch), np.bool_)
    kept[slice(None) if unsettled is None else unsettled] = op.keeps(part, measured)
    measured_rows = rows if unsettled is None else rows[unsettled]
    for stat, own in zip(step.stats, op.stats, strict=True):
        notes.measured[stat] = (measured_rows, measured[own])
    if notes.carry:
        batch = _carried(batch, step, {stat: measured[own] for stat, own in zip(step.stats, op.stats, strict=True)})
    if not kept.all():
        value = _value(op, measured, len(part))
        values = np.full(len(batch), np.nan)
        values[slice(None) if unsettled is None else unsettled] = value
        notes.drop(step, rows[~kept], values[~kept])
        first = ~kept & _still(batch)
        notes.sample(step, batch.frame, np.flatnonzero(first), values, None)
    after = batch.with_column(_KEPT, pl.Series(kept & _still(batch))) if notes.study else batch.where(kept)
    spent[step.index] = Spent.since(clock, len(batch), int(kept.sum()))
    return after


def _carried(batch: Batch, step: Step, measured: Mapping[str, Any]) -> Batch:
    """The batch with some more numbers in its struct of numbers."""
    if not step.stats:
        return batch
    known = batch.frame[STATS].struct.unnest() if STATS in batch.frame.columns else pl.DataFrame()
    columns = {**{c.name: c for c in known}, **{name: pl.Series(name, values) for name, values in measured.items()}}
    return batch.with_column(STATS, pl.DataFrame(list(columns.values())).to_struct(STATS))


def _still(batch: Batch) -> np.ndarray:
    """Which rows no filter has dropped yet; in a study, the others stay in sight."""
    if _KEPT in batch.frame.columns:
        return batch.frame[_KEPT].to_numpy()
    return np.ones(len(batch), np.bool_)


def _unsettled(op: RangeFilter, batch: Batch) -> np.ndarray | None:
    """Rows whose exact number must be known, or ``None`` for all."""
    if op.reversed_range or (bracket := op.bracket(batch)) is None:
        return None
    low, high = bracket
    # The range is an interval, so a number between two that are kept is kept.
    settled = op.inside(low) & op.inside(high)
    return None if not settled.any() else ~settled


def _value(op: Filter, measured: Any, rows: int) -> np.ndarray:
    """The number a row is dropped for: the first that is one."""
    for stat in op.stats:
        values = measured[stat]
        if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
            return values.astype(np.float64)
        values = pl.Series(values)
        if values.dtype.is_numeric():
            return values.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.full(rows, np.nan)


class _Notes:
    """What is known of each row of a chunk."""

    def __init__(self, batch: Batch, *, study: bool, carry: bool) -> None:
        rows = len(batch)
        ids = batch.frame["id"] if batch.frame.schema.get("id") == pl.String else None
        self.draw = None if ids is None else ids.hash().to_numpy()
        """By row, a number that decides whether it is sampled; nothing where rows have no names."""
        self.study = study
        self.carry = carry
        self.exact = study or carry
        self.dropped_by = np.full(rows, -1, np.int16)
        self.value = np.full(rows, np.nan)
        self.changed = np.zeros(rows, np.uint64)
        self.measured: dict[str, tuple[np.ndarray, Any]] = {}
        """By stat, rows and their numbers."""
        self.sampled: dict[str, list[Any]] = {name: [] for name in SAMPLES}

    def drop(self, step: Step, rows: np.ndarray, values: np.ndarray) -> None:
        """Note who dropped rows, and for what number; the first to drop a row is the one."""
        first = self.dropped_by[rows] < 0
        self.dropped_by[rows[first]] = step.index
        self.value[rows[first]] = values[first]

    def note_changes(self, step: Step, before: Batch, after: Batch) -> None:
        """Note which rows a mapper changed, and which it left out."""
        bit = np.uint64(1) << np.uint64(min(step.index, 63))
        old, new = before.frame[ROW].to_numpy(), after.frame[ROW].to_numpy()
        if len(old) == len(new) and np.array_equal(old, new):
            differs = _differs(before.frame, after.frame, only=step.op.text_key if _only_rewrites(step.op) else None)
            self.changed[old[differs]] |= bit
            if differs.any():
                unknown = np.full(len(old), np.nan)
                self.sample(step, before.frame, np.flatnonzero(differs), unknown, after.frame)
            return
        gone = np.setdiff1d(old, new)
        self.drop(step, gone, np.full(len(gone), np.nan))
        rows, times = np.unique(new, return_counts=True)
        self.changed[rows[times > 1]] |= bit
        single = pl.Series(rows[times == 1])
        left = before.frame.unique(ROW, keep="first", maintain_order=True).filter(pl.col(ROW).is_in(single.implode()))
        right = after.frame.filter(pl.col(ROW).is_in(single.implode()))
        self.changed[right[ROW].to_numpy()[_differs(left, right)]] |= bit

    def sample(
        self, step: Step, before: pl.DataFrame, places: np.ndarray, values: np.ndarray, after: pl.DataFrame | None
    ) -> None:
        """Note some of the rows at ``places`` of two frames, which an operation dropped or changed."""
        key = step.op.text_key
        if self.draw is None or before.schema.get(key) != pl.String or not len(places):
            return
        order = _mixed(self.draw[before[ROW].to_numpy()[places]], step.index)
        first = np.argsort(order, kind="stable")[:SAMPLED]
        chosen = places[first].tolist()
        old, new = before[key][chosen].to_list(), None if after is None else after[key][chosen].to_list()
        cuts = [0] * len(chosen) if new is None else [_first_difference(a, b) for a, b in zip(old, new, strict=True)]
        told: dict[str, Sequence[Any]] = {
            "index": [step.index] * len(chosen),
            "order": order[first].tolist(),
            "id": before["id"][chosen].to_list(),
            "value": values[chosen].tolist(),
            "before": [_excerpt(text, cut) for text, cut in zip(old, cuts, strict=True)],
            "after": [None] * len(chosen)
            if new is None
            else [_excerpt(text, cut) for text, cut in zip(new, cuts, strict=True)],
        }
        for name, column in told.items():
            self.sampled[name] += column

    def samples(self) -> pl.DataFrame:
        """All sampled rows."""
        return pl.DataFrame(self.sampled, schema=SAMPLES).with_columns(pl.col("value").fill_nan(None))

    def leave(self, batch: Batch) -> None:
        """A row that mappers made several of is kept if any of these is."""
        kept = batch.frame[ROW].to_numpy()
        self.dropped_by[kept] = -1
        self.value[kept] = np.nan

    def frame(self) -> pl.DataFrame:
        """All notes as columns."""
        columns = [
            pl.Series(DROPPED_BY, self.dropped_by),
            pl.Series(VALUE, self.value),
            pl.Series(CHANGED, self.changed),
        ]
        for stat, (rows, values) in self.measured.items():
            columns.append(spread(pl.Series(stat, values), rows, len(self.dropped_by)))
        return pl.DataFrame(columns)


def _first_difference(old: str | None, new: str | None) -> int:
    """Characters the two begin with in common, found by halves: slices are compared without a loop of Python."""
    old, new = old or "", new or ""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _excerpt(text: str | None, at: int) -> str:
    """Some of a text, from a little before a place."""
    start = max(0, at - _SHOWN // 4) if at > _SHOWN // 2 else 0
    part = (text or "")[start : start + _SHOWN]
    return f"{'…' if start else ''}{part}{'…' if start + _SHOWN < len(text or '') else ''}"


def _only_rewrites(op: Op) -> bool:
    """Whether no column but the text can change."""
    return not isinstance(op, Mapper) or type(op).apply is Mapper.apply


def _differs(before: pl.DataFrame, after: pl.DataFrame, *, only: str | None = None) -> np.ndarray:
    """Which rows of two frames differ, bool ``[rows]``; in one column, if no other can."""
    changed = np.zeros(after.height, np.bool_)
    for name in after.columns if only is None or "." in only else [only]:
        if name not in before.columns:
            changed[:] = True
        elif name != ROW:
            old, new = before[name], after[name]
            plain = not (old.null_count() or new.null_count() or old.dtype.is_nested())
            changed |= (new != old if plain else new.ne_missing(old)).to_numpy()
    return changed


def _mixed(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Other numbers for each seed, uint64; equal ones stay equal.

    Source: the finaliser of SplitMix64, Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators".
    """
    mixed = numbers ^ np.uint64((seed * 0x9E3779B97F4A7C15 + 1) % (1 << 64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def spread(values: pl.Series, rows: np.ndarray, count: int) -> pl.Series:
    """Numbers of some rows as a column of all rows, null elsewhere; of repeated rows the first counts."""
    if len(rows) == count and np.array_equal(rows, np.arange(count)):
        return values
    if values.dtype == pl.Float64 and not values.null_count():
        spread_out, known = np.zeros(count), np.zeros(count, np.bool_)
        spread_out[rows[::-1]] = values.to_numpy()[::-1]
        known[rows] = True
        return pl.Series(values.name, spread_out).set(pl.Series(~known), None)
    place = np.full(count, -1, np.int64)
    place[rows[::-1]] = np.arange(len(rows))[::-1]
    where = pl.Series(place)
    return values.gather(where.set(where < 0, None))
