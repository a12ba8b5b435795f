"""What a person wants to know about a curation: the funnel, who dropped what and why, what duplicates look like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from plait.core.figures import Bars, Example, Histogram, StageReport, Table
from plait.core.seeds import Seeds
from plait.data.execute import Curated, gather, open_chunk
from plait.data.op import Filter
from plait.data.plan import Step

_SHOWN = 600  # characters of a sampled text
_SAMPLES = 5
_CLUSTERS = 3
_BINS = 24


def describe(curated: Curated, report: StageReport, *, seeds: Seeds) -> None:
    """Fill a report from a finished curation.

    Args:
        curated: What `plait.data.execute.execute` returned.
        report: Gets headline, facts, figures, tables and examples.
        seeds: Chooses the samples shown.
    """
    rows = curated.rows
    total, kept = len(rows.dropped_by), len(rows.kept_by_id)
    before, after = _lengths(curated)
    report.headline = f"kept {kept:,} of {total:,} documents"
    report.facts |= {
        "documents read": total,
        "documents kept": kept,
        "characters read": int(before.sum()),
        "characters kept": int(after.sum()),
    }
    dropped = Counter(rows.dropped_by.tolist())
    droppers = [step for step in curated.plan.steps if step.stat]
    report.figures += [_funnel(droppers, dropped, total), _length_histogram(before, after)]
    report.tables += [_drop_table(curated, droppers, dropped, total), *_group_table(curated)]
    report.examples += [
        *_dropped_samples(curated, droppers, seeds),
        *_clusters(curated),
        Example(title="How the operations ran", text=curated.plan.describe()),
    ]
    idle = [step.name for step in droppers if not dropped[step.index]]
    if idle:
        report.notes.append(f"dropped nothing here: {', '.join(idle)}")


def _funnel(droppers: list[Step], dropped: Counter[int], total: int) -> Bars:
    left = [total]
    for step in droppers:
        left.append(left[-1] - dropped[step.index])
    return Bars(
        title="Documents left after each operation",
        y="documents",
        groups=["read", *(step.name for step in droppers)],
        series={"documents": [float(n) for n in left]},
        horizontal=True,
    )


def _length_histogram(before: np.ndarray, after: np.ndarray) -> Histogram:
    longest = max(int(before.max(initial=1)), int(after.max(initial=1)), 2)
    edges = np.unique(np.round(np.geomspace(1, longest + 1, _BINS + 1)))
    return Histogram(
        title="Length of documents",
        x="characters (bins grow by a constant factor)",
        edges=edges.tolist(),
        counts={
            "read": np.histogram(before, edges)[0].astype(float).tolist(),
            "kept": np.histogram(after, edges)[0].astype(float).tolist(),
        },
    )


def _drop_table(curated: Curated, droppers: list[Step], dropped: Counter[int], total: int) -> Table:
    fails = _fails(curated)
    rows = list[list[str | int | float | None]]()
    reached = total
    for step in droppers:
        count = dropped[step.index]
        share = round(100 * count / reached, 2) if reached else 0.0
        rows.append([step.name, _range(step), reached, count, share, fails.get(step.index)])
        reached -= count
    return Table(
        title="What each operation dropped",
        columns=["operation", "keeps", "reached it", "dropped", "dropped %", "fail it, of all"],
        rows=rows,
        note="The first operation a document fails drops it; the last column also counts documents dropped before.",
    )


def _fails(curated: Curated) -> dict[int, int]:
    """How many documents each filter would drop if it were alone."""
    import polars as pl

    filters = [step for step in curated.plan.stats if isinstance(step.op, Filter)]
    totals = Counter[int]()
    for chunk in curated.chunks:
        table = open_chunk(chunk).select([step.stat for step in filters])
        frame = pl.DataFrame(pl.from_arrow(table))
        for step in filters:
            assert isinstance(step.op, Filter)
            totals[step.index] += int(frame.select((~step.op.keeps(pl.col(step.stat))).sum()).item())
    return dict(totals)


def _range(step: Step) -> str:
    if not isinstance(step.op, Filter):
        return "one of each"
    low, high = step.op.bounds()
    opening = "[" if step.op.min_closed_interval else "("
    closing = "]" if step.op.max_closed_interval else ")"
    inside = f"{step.stat} in {opening}{_bound(low)}, {_bound(high)}{closing}"
    return f"not {inside}" if step.op.reversed_range else inside


def _bound(value: float | None) -> str:
    # Data-Juicer's default for "no bound" is the largest machine integer.
    return "…" if value is None or abs(value) >= 1e18 else f"{value:g}"


def _group_table(curated: Curated) -> list[Table]:
    read, kept = Counter[str](), Counter[str]()
    fates = curated.rows.dropped_by
    at = 0
    for chunk in curated.chunks:
        groups = open_chunk(chunk).column("group").to_pylist()
        for group, fate in zip(groups, fates[at : at + len(groups)], strict=True):
            if group is not None:
                read[group] += 1
                kept[group] += int(fate < 0)
        at += len(groups)
    if not 1 < len(read) <= 40:
        return []
    rows: list[list[str | int | float | None]] = [[group, read[group], kept[group]] for group in sorted(read)]
    return [Table(title="Documents of each group", columns=["group", "read", "kept"], rows=rows)]


def _dropped_samples(curated: Curated, droppers: list[Step], seeds: Seeds) -> list[Example]:
    """One dropped document of each operation, as the operation saw it, until there are enough."""
    examples = list[Example]()
    for step in droppers:
        rows = np.flatnonzero(curated.rows.dropped_by == step.index)
        if not len(rows) or not isinstance(step.op, Filter) or len(examples) == _SAMPLES:
            continue
        chosen = seeds.child("sample", step.index).numpy().choice(rows, 1)
        [table] = gather(curated.chunks, curated.rows.starts, chosen, ["id", "text", step.stat])
        record = table.to_pylist()[0]
        examples.append(
            Example(
                title=f"Dropped by {step.name}: {record['id']} has {step.stat} = {record[step.stat]:.4g}, "
                f"kept is {_range(step)}",
                text=_cut(record["text"]),
            )
        )
    return examples


def _clusters(curated: Curated) -> list[Example]:
    """The largest sets of near duplicates, each with its survivor."""
    rows = curated.rows
    near = np.flatnonzero((rows.survivor >= 0) & (rows.similarity < 1))
    sizes = Counter(rows.survivor[near].tolist())
    examples = list[Example]()
    for survivor, count in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:_CLUSTERS]:
        members = near[rows.survivor[near] == survivor][:_SAMPLES]
        [table] = gather(curated.chunks, rows.starts, np.array([survivor, *members[:1]]), ["id", "text"])
        first, second = table.to_pylist()
        names = ", ".join(f"{rows.ids[int(m)].as_py()} ({rows.similarity[m]:.2f})" for m in members)
        more = f" and {count - len(members)} more" if count > len(members) else ""
        examples.append(
            Example(
                title=f"{count} near duplicates of {first['id']}",
                text=f"dropped, with their similarity (less than the threshold if alike through others):\n{names}{more}"
                f"\n\nkept:\n{_cut(first['text'])}\n\n{second['id']}:\n{_cut(second['text'])}",
            )
        )
    return examples


def _lengths(curated: Curated) -> tuple[np.ndarray, np.ndarray]:
    """Characters of every document as read, and of every document kept as it is now."""
    before = [_chunk_lengths(chunk) for chunk in curated.sources]
    after = np.concatenate([_chunk_lengths(chunk) for chunk in curated.chunks])
    return np.concatenate(before), after[curated.rows.dropped_by < 0]


def _chunk_lengths(chunk: Path) -> np.ndarray:
    return np.asarray(pc.call_function("utf8_length", [open_chunk(chunk).column("text")]), np.int64)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
