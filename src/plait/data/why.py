"""Who dropped a row, by which number and threshold, and what each mapper made of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, cast

import polars as pl

from plait.data.batch import Batch
from plait.data.curation import Summary
from plait.data.op import Mapper
from plait.data.plan import read_ops
from plait.data.read.collect import Collected
from plait.errors import DataError, UsageError, nearest

_SHOWN = 400  # characters of a change


@dataclass(frozen=True)
class Change:
    """What one mapper did to a row: the parts that differ."""

    op: str
    before: str
    after: str


@dataclass(frozen=True)
class Why:
    """The fate of one row.

    Args:
        fate: Its line of the lineage.
        keeps: What the operation that dropped it keeps.
        changes: What each mapper changed, in order; the mappers are run again on this row alone.
        unseen: Why they could not be, if so: the input is gone, or is another one by now.
    """

    fate: Mapping[str, Any]
    keeps: str | None
    changes: Sequence[Change]
    unseen: str | None = None


def why(folder: Path, name: str) -> list[Why]:
    """The fates of the rows of an id; several if the id is not unique.

    Args:
        folder: A curation's ``.run`` folder, or its export.
        name: The id.

    Raises:
        UsageError: There is no such run, or no such row.
    """
    summary = Summary.open(folder)
    rows = pl.scan_parquet(summary.folder / "lineage.parquet").with_row_index("row")
    found = rows.filter(pl.col("id") == name).collect()
    if not found.height:
        some = rows.select("id").head(10_000).collect()["id"].to_list()
        raise UsageError(f'there is no row "{name}"', code="data.no-such-row", hint=nearest(name, some))
    keeps = {(op["name"], (op["stats"] or [None])[-1]): op["keeps"] for op in summary.ops}
    return [_told(summary, fate, keeps.get((fate["dropped_by"], fate["stat"]))) for fate in found.to_dicts()]


def _told(summary: Summary, fate: Mapping[str, Any], keeps: str | None) -> Why:
    known = {k: v for k, v in fate.items() if k != "row" and v is not None}
    if not fate["changed_by"]:
        return Why(known, keeps, ())
    try:
        row = _row(summary, fate["row"])
    except DataError as error:
        return Why(known, keeps, (), f"{error.where}: {error.message}")
    if row is None or str(row.frame["id"][0]) != fate["id"]:
        return Why(known, keeps, (), f"{summary.job.where} has changed since")
    return Why(known, keeps, tuple(_replay(summary.job.ops, row)))


def _row(summary: Summary, row: int) -> Batch | None:
    """A row of the input as it was read, if there are still as many."""
    starts = [0, *accumulate(count for _, count in summary.blocks)]
    number = next(i for i, end in enumerate(starts[1:]) if row < end)
    block = next(islice(summary.job.blocks(), number, None), None)
    if block is None:
        return None
    rows = cast("pl.DataFrame", pl.from_arrow(block.load(Collected())))
    return Batch.of(rows[row - starts[number]]) if row - starts[number] < rows.height else None


def _replay(ops: Sequence[Any], batch: Batch) -> Iterator[Change]:
    """Mappers are functions of the row, so running them again shows what they did."""
    for name, op in read_ops(ops):
        if not isinstance(op, Mapper) or not op.deterministic:
            continue
        after = op.apply(batch)
        before_text, after_text = "\n".join(batch.text(op.text_key)), "\n".join(after.text(op.text_key))
        if before_text != after_text:
            yield Change(name, *_differing(before_text, after_text))
        batch = after


def _differing(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, cut."""
    old, new = list[str](), list[str]()
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0):
        if line.startswith("-") and not line.startswith("---"):
            old.append(line[1:])
        elif line.startswith("+") and not line.startswith("+++"):
            new.append(line[1:])
    return "\n".join(old)[:_SHOWN], "\n".join(new)[:_SHOWN]


def diff(before: Path, after: Path) -> pl.DataFrame:
    """How fates differ between two curations of the same data, ``[kinds of change]``, most frequent first.

    Columns: ``before`` and ``after`` (what dropped the row, or "kept", or "absent"), ``rows``, and ``example``, an id.

    Raises:
        UsageError: There is no such run.
    """
    sides = list[pl.LazyFrame]()
    for folder, column in ((before, "before"), (after, "after")):
        fates = pl.scan_parquet(Summary.open(folder).folder / "lineage.parquet")
        fate = pl.when("kept").then(pl.lit("kept")).otherwise(pl.col("dropped_by").cast(pl.String))
        # Ids may repeat: the first of an id in one run meets the first in the other.
        sides.append(fates.select("id", pl.int_range(pl.len()).over("id").alias("nth"), fate.alias(column)))
    joined = sides[0].join(sides[1], on=["id", "nth"], how="full", coalesce=True)
    told = joined.with_columns(pl.col("before", "after").fill_null("absent"))
    changed = told.filter(pl.col("before") != pl.col("after"))
    counts = changed.group_by("before", "after").agg(pl.len().alias("rows"), pl.col("id").min().alias("example"))
    return counts.sort(["rows", "before", "after"], descending=[True, False, False]).collect()
