"""Examples of what each operation did, as Data-Juicer's tracer leaves them, from the lineage of a finished run.

clean.run/trace/sample_trace-clean_links_mapper.jsonl     original_text, processed_text
clean.run/trace/sample_trace-words_num_filter.jsonl       rows that it dropped, and the number it dropped them for
clean.run/trace/duplicate-document_deduplicator.jsonl     dup1 (kept) and dup2 (dropped)

A run itself pays nothing for them: mappers are run again on these rows alone.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import polars as pl

from plait.core.folder import write_text
from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.curation import Summary
from plait.data.names import ROW, STATS
from plait.data.op import Deduplicator, Mapper, Op, Reducer
from plait.data.plan import read_ops

_Row = dict[str, Any]


def write_trace(summary: Summary, *, rows: int, ops: Sequence[str], fields: Sequence[str]) -> Path | None:
    """Write the first examples of each operation.

    What an earlier run left is taken away. Rows that a grouper or aggregator made are not followed, and what a model
    or an endpoint wrote is not asked for again.

    Args:
        summary: The run.
        rows: At most so many of each use of an operation; 0 for none at all.
        ops: Operations to show; all when empty.
        fields: Fields of the input shown with each change.

    Returns:
        The folder, or ``None`` if nothing was asked for.
    """
    folder = summary.folder / "trace"
    shutil.rmtree(folder, ignore_errors=True)
    if not rows:
        return None
    folder.mkdir()
    steps = _followed(read_ops(summary.job.ops))
    found = _examples(summary, steps, {name for name, _ in steps if not ops or name in ops}, rows)
    places = sorted({place for examples in found.values() for example in examples for place in example})
    fates = _fates(summary, places)
    states = dict(_states(summary, [op for _, op in steps], fates))
    told = dict[str, list[_Row]]()
    for index, examples in found.items():
        name, op = steps[index]
        kind = "duplicate" if isinstance(op, Deduplicator) else "sample_trace"
        entries = told.setdefault(f"{kind}-{name}.jsonl", [])
        for example in examples:
            found_in = [states[place] for place in example]
            entries += _entry(op, index, found_in, fates[example[-1]], fields)
    for file, entries in told.items():
        if entries:
            lines = (json.dumps(entry, ensure_ascii=False, default=str) + "\n" for entry in entries)
            write_text(folder / file, "".join(lines))
    return folder


def _followed(steps: Sequence[tuple[str, Op]]) -> list[tuple[str, Op]]:
    """Operations up to the first that makes rows of its own."""
    end = next((index for index, (_, op) in enumerate(steps) if isinstance(op, Reducer)), len(steps))
    return list(steps[:end])


def _examples(
    summary: Summary, steps: Sequence[tuple[str, Op]], wanted: set[str], rows: int
) -> dict[int, list[tuple[int, ...]]]:
    """By index of an operation, places of rows that it changed or dropped; before a copy, that of the one kept."""
    fates = pl.scan_parquet(summary.folder / "lineage.parquet").with_row_index("place")
    found = dict[int, list[tuple[int, ...]]]()
    for index, (name, op) in enumerate(steps):
        stats = summary.ops[index]["stats"]
        if name not in wanted or (not isinstance(op, Mapper) and (name, stats) in _before(summary, index)):
            continue
        if isinstance(op, Mapper):
            named = pl.col("changed_by").cast(pl.String).str.split(",").list.contains(name)
            some = fates.filter(named).select("place", pl.lit(None, pl.String).alias("like")).head(rows).collect()
        else:
            own = pl.col("stat").is_null() | pl.col("stat").cast(pl.String).is_in(stats)
            by = fates.filter((pl.col("dropped_by").cast(pl.String) == name) & own)
            some = by.select("place", pl.col("duplicate_of").alias("like")).head(rows).collect()
        likes = fates.filter(pl.col("id").is_in(some["like"].drop_nulls().to_list())).select("id", "place")
        kept = dict(likes.collect().unique("id", keep="first", maintain_order=True).iter_rows())
        found[index] = [(kept[like], place) if like in kept else (place,) for place, like in some.iter_rows()]
    return found


def _before(summary: Summary, index: int) -> list[tuple[str, Any]]:
    """What stands in the recipe before: a filter that stands twice is shown once."""
    return [(op["name"], op["stats"]) for op in summary.ops[:index]]


def _fates(summary: Summary, places: Sequence[int]) -> dict[int, _Row]:
    """By place of a row in the input, its id, and the number it was dropped for."""
    every = pl.scan_parquet(summary.folder / "lineage.parquet").with_row_index("place")
    some = every.filter(pl.col("place").is_in(list(places))).select("place", "id", "stat", "value").collect()
    return {fate.pop("place"): fate for fate in some.to_dicts()}


def _states(summary: Summary, ops: Sequence[Op], fates: Mapping[int, _Row]) -> Iterator[tuple[int, list[list[_Row]]]]:
    """By place of a row in the input, what became of it before each operation and after the last."""
    for place, batch in _rows(summary, sorted(fates)):
        states, name = list[list[_Row]](), fates[place]["id"]
        for op in ops:
            states.append(_plain(batch, name))
            if isinstance(op, Mapper) and op.deterministic and len(batch):
                batch = op.apply(batch)
        yield place, [*states, _plain(batch, name)]


def _rows(summary: Summary, places: Sequence[int]) -> Iterator[tuple[int, Batch]]:
    """Rows of the input, each a batch of its own; blocks are read up to the last asked for."""
    rejects = Quarantine(summary.folder / "trace.rejects.jsonl")
    ends = accumulate(count for _, count in summary.blocks)
    left = deque(places)
    for block, end in zip(summary.job.blocks(), ends, strict=True):
        if not left:
            break
        if left[0] >= end:
            continue
        frame = cast("pl.DataFrame", pl.from_arrow(block.load(rejects)))
        while left and left[0] < end:
            place = left.popleft()
            yield place, Batch.of(frame.slice(place - (end - frame.height), 1))
    rejects.path.unlink(missing_ok=True)


def _plain(batch: Batch, name: str) -> list[_Row]:
    return [{"id": name, **row} for row in batch.frame.drop(ROW).to_dicts()]


def _entry(op: Op, index: int, states: Sequence[list[list[_Row]]], fate: _Row, fields: Sequence[str]) -> list[_Row]:
    """The line of an example; none where a mapper that stands twice changed the row at its other place."""
    *like, [*before] = (state[index] for state in states)
    if isinstance(op, Mapper):
        old, new = (_text(rows, op.text_key) for rows in (before, states[-1][index + 1]))
        given = states[-1][0][0]
        shown = {field: given.get(field) for field in ("id", *fields)}
        return [{**shown, "original_text": old, "processed_text": new}] if old != new else []
    if isinstance(op, Deduplicator):
        return [{"dup1": kept, "dup2": dropped} for kept in like[0] for dropped in before] if like else []
    number = {} if fate["stat"] is None else {STATS: {fate["stat"].partition("@")[0]: fate["value"]}}
    return [{**row, **number} for row in before]


def _text(rows: Sequence[_Row], key: str) -> str:
    """The text of a row, or of what a mapper made of it."""
    found = list[str]()
    for row in rows:
        value: Any = row.get(key)
        if key not in row:
            value = row
            for part in key.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
        found.append(value if isinstance(value, str) else "")
    return "\n".join(found)
