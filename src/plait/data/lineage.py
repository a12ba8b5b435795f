"""The fate of every row that came in: who dropped it and why, what was measured, and which mappers changed it.

    id · kept · dropped_by · stat · value · duplicate_of · changed_by · chars · source · one column per stat

One row per row of the input, in its order, written as Parquet: some tens of bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from plait.data.execute import Curated, Ended
from plait.data.names import ROW
from plait.data.op import Barrier, Mapper, RewritingBarrier
from plait.data.plan import Plan, Step
from plait.data.visit import CHANGED, DROPPED_BY, VALUE, spread

_NAMES = pa.dictionary(pa.int32(), pa.string())
_FIXED: tuple[tuple[str, pa.DataType], ...] = (
    ("id", pa.string()),
    ("kept", pa.bool_()),
    ("dropped_by", _NAMES),
    ("stat", _NAMES),
    ("value", pa.float64()),
    ("duplicate_of", pa.string()),
    ("changed_by", _NAMES),
    ("source", _NAMES),
    ("chars", pa.int64()),
)


def lineage_schema(curated: Curated) -> pa.Schema:
    """Columns of `lineage`."""
    texts = set[str]()
    for ended in _passes(curated):
        schema = ended.chunks[0].fates().schema
        texts |= {stat for stat in curated.plan.stats if schema.get(stat) == pl.String}
    return pa.schema([*_FIXED, *((s, pa.string() if s in texts else pa.float64()) for s in curated.plan.stats)])


def lineage(curated: Curated) -> Iterator[pa.RecordBatch]:
    """The fate of every row, a batch per chunk of the input."""
    schema = lineage_schema(curated)
    for number in range(len(curated.passes[0].chunks)):
        frame, _ = _fates(curated, number)
        nothing = pl.Series("", [None] * frame.height, pl.Null)
        columns = [frame[f.name] if f.name in frame.columns else nothing for f in schema]
        arrays = [_arrow(column, f.type) for column, f in zip(columns, schema, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def stats_of_kept(curated: Curated) -> Iterator[pl.DataFrame]:
    """The numbers of the rows kept, chunk by chunk, in the order of `plait.data.execute.Curated.frames`."""
    for number in range(len(curated.last.chunks)):
        frame, origin = _fates(curated, number)
        yield frame.select(stat for stat in curated.plan.stats if stat in frame.columns)[origin]


def _passes(curated: Curated) -> list[Ended]:
    """Those whose rows come from rows of the input."""
    for number, ended in enumerate(curated.passes):
        if ended.reduced is not None:
            return curated.passes[: number + 1]
    return curated.passes


def _fates(curated: Curated, number: int) -> tuple[pl.DataFrame, np.ndarray]:
    """The fates of one chunk's rows, from all passes it went through, and which of them the rows kept came from."""
    passes = _passes(curated)
    first = passes[0].chunks[number].fates()
    count = first.height
    dropped_by, value = np.full(count, -1, np.int16), np.full(count, np.nan)
    changed = np.zeros(count, np.uint64)
    survivor = np.full(count, None, object)
    stats = dict[str, pl.Series]()
    origin = np.arange(count)
    for ended in passes:
        chunk = ended.chunks[number]
        fates = chunk.fates()
        drops = fates[DROPPED_BY].to_numpy()
        gone = drops >= 0
        dropped_by[origin[gone]] = drops[gone]
        value[origin[gone]] = fates[VALUE].to_numpy()[gone]
        np.bitwise_or.at(changed, origin, fates[CHANGED].to_numpy())
        for stat in curated.plan.stats:
            if stat in fates.columns:
                stats[stat] = spread(fates[stat], origin, count)
        # Not to_numpy of PyArrow, which imports pandas.
        rows = origin[pl.Series(chunk.column(ROW)).to_numpy()]
        barred = ended.dropped_by[number]
        gone = barred >= 0
        dropped_by[rows[gone]] = barred[gone]
        value[rows[gone]] = ended.value[number][gone]
        for places, ids in ended.survivors[number]:
            survivor[rows[places]] = ids.to_list()
        origin = rows[ended.kept[number]]
    kept = np.zeros(count, np.bool_)
    kept[origin] = True
    dropped_by[kept], value[kept], survivor[kept] = -1, np.nan, None
    names, why = _names(curated.plan)
    fixed: dict[str, Any] = {
        "kept": kept,
        "dropped_by": pl.Series(names, dtype=pl.String).gather(_or_null(dropped_by)),
        "stat": pl.Series(why, dtype=pl.String).gather(_or_null(dropped_by)),
        "value": pl.Series(value, nan_to_null=True),
        "duplicate_of": pl.Series(survivor.tolist(), dtype=pl.String),
        "changed_by": _changed(changed, curated.plan.steps),
    }
    given = [first[name] for name in ("id", "source", "chars") if name in first.columns]
    found = [*given, *(pl.Series(k, v) for k, v in fixed.items()), *(s.alias(k) for k, s in stats.items())]
    return pl.DataFrame(found), origin


def _names(plan: Plan) -> tuple[list[str], list[str | None]]:
    """By index of the operation, its name and the stat it decides by."""
    why: list[str | None] = []
    for step in plan.steps:
        barrier = step.op.stat if isinstance(step.op, Barrier) else ""
        why.append(step.stats[-1] if step.stats else barrier or None)
    return [step.name for step in plan.steps], why


def _or_null(index: np.ndarray) -> pl.Series:
    series = pl.Series(index.astype(np.int64))
    return series.set(series < 0, None)


def _changed(bits: np.ndarray, steps: Sequence[Step]) -> pl.Series:
    """Names of the mappers whose bits are set, separated by commas; null for none."""
    names = dict[int, str | None]()
    for pattern in np.unique(bits).tolist():
        found = [
            step.name
            for step in steps
            if isinstance(step.op, Mapper | RewritingBarrier) and pattern >> min(step.index, 63) & 1
        ]
        names[pattern] = ",".join(found) or None
    return pl.Series(bits).replace_strict(names, return_dtype=pl.String)


def _arrow(column: pl.Series, kind: pa.DataType) -> pa.Array:
    number = column.dtype.is_numeric() and kind == pa.float64()
    array: Any = (column.cast(pl.Float64) if number else column).to_arrow()
    if pa.types.is_dictionary(kind):
        return array.cast(pa.string()).dictionary_encode("mask").cast(kind)
    return array.cast(kind)
