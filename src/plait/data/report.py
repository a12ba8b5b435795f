"""What a person wants to know about a curation: the funnel, who dropped what and why, what duplicates look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plait.core.figures import Bars, Example, Histogram, StageReport, Table
from plait.data.execute import Curated
from plait.data.names import ROW
from plait.data.op import Barrier, Deduplicator, Filter, RangeFilter, Selector
from plait.data.plan import Step
from plait.data.visit import SAMPLED

_SHOWN = 600  # characters of a sampled text
_CLUSTERS = 3
_BINS = 24
_SOURCES = 40


def describe(curated: Curated, lineage: Path, report: StageReport) -> None:
    """Fill a report from a finished curation.

    Args:
        curated: What `plait.data.execute.execute` returned.
        lineage: The Parquet file of `plait.data.lineage.lineage`.
        report: Gets headline, facts, figures, tables and examples.
    """
    fates = pl.scan_parquet(lineage)
    total, kept = curated.read, curated.kept
    dropped: dict[str, int] = dict(
        fates.filter(~pl.col("kept")).group_by(pl.col("dropped_by").cast(pl.String)).len().collect().rows()
    )
    lengths = fates.select(pl.col("chars").sum().alias("read"), pl.col("chars").filter("kept").sum().alias("kept"))
    report.headline = f"kept {kept:,} of {total:,} documents" + (f" ({100 * kept / total:.1f} %)" if total else "")
    report.facts |= {"documents read": total, "documents kept": kept}
    report.facts |= {f"characters {name}": int(n or 0) for name, n in lengths.collect().row(0, named=True).items()}
    droppers = [s for s in curated.plan.steps if isinstance(s.op, Filter | Barrier) or s.name in dropped]
    report.figures += [_funnel(droppers, dropped, total), _length_histogram(fates)]
    report.tables += [_drop_table(droppers, dropped, total, curated.facts), *_source_table(fates)]
    report.examples += [
        *_samples(curated),
        *_clusters(curated, fates),
        Example(title="How the operations ran", text=curated.plan.describe()),
    ]
    idle = [step.name for step in droppers if not dropped.get(step.name)]
    if idle:
        report.notes.append(f"dropped nothing here: {', '.join(idle)}")
    for step in curated.plan.steps:
        spent = curated.spent.get(step.index)
        if spent and spent.failed:
            report.notes.append(f"{step.name} has no result for {spent.failed:,} of {spent.read:,} rows")


def _funnel(droppers: Sequence[Step], dropped: Mapping[str, int], total: int) -> Bars:
    left = [total]
    for step in droppers:
        left.append(left[-1] - dropped.get(step.name, 0))
    return Bars(
        title="Documents left after each operation",
        y="documents",
        groups=["read", *(step.name for step in droppers)],
        series={"documents": [float(n) for n in left]},
        horizontal=True,
    )


def _length_histogram(fates: pl.LazyFrame) -> Histogram:
    longest = max(int(fates.select(pl.col("chars").max()).collect().item() or 1), 2)
    edges = np.unique(np.round(np.geomspace(1, longest + 1, _BINS + 1)))
    frame = fates.select("chars", "kept").collect()
    chars, kept = frame["chars"].to_numpy(), frame["kept"].to_numpy()
    return Histogram(
        title="Length of documents, as read",
        x="characters (bins grow by a constant factor)",
        y="documents",
        edges=edges.tolist(),
        counts={
            "read": np.histogram(chars, edges)[0].astype(float).tolist(),
            "kept": np.histogram(chars[kept], edges)[0].astype(float).tolist(),
        },
    )


def _drop_table(
    droppers: Sequence[Step], dropped: Mapping[str, int], total: int, facts: Mapping[int, Mapping[str, Any]]
) -> Table:
    rows = list[list[str | int | float | None]]()
    reached = total
    for step in droppers:
        count = dropped.get(step.name, 0)
        share = round(100 * count / reached, 2) if reached else 0.0
        told = ", ".join(
            f"{name.replace('_', ' ')} {_short(value)}" for name, value in facts.get(step.index, {}).items()
        )
        rows.append([step.name, kept_range(step), reached, count, share, told or None])
        reached -= count
    return Table(
        title="What each operation dropped",
        columns=["operation", "keeps", "reached it", "dropped", "dropped %", "remarks"],
        rows=rows,
        note="In the order of the recipe. A document counts for the operation that dropped it.",
    )


def kept_range(step: Step) -> str:
    """What an operation keeps, in words.

    Example:
        >>> from plait.data.plan import compile_plan, read_ops
        >>> [step] = compile_plan(read_ops([{"text_length_filter": {"min_len": 120}}])).steps
        >>> kept_range(step)
        'text_len in [120, …]'
    """
    match step.op:
        case RangeFilter():
            pass
        case Deduplicator():
            return "one of each"
        case Selector():
            return "those it chooses"
        case _:
            return ", ".join(step.stats)
    low, high = step.op.bounds()
    opening = "[" if step.op.min_closed_interval else "("
    closing = "]" if step.op.max_closed_interval else ")"
    inside = f"{step.stats[-1]} in {opening}{_bound(low)}, {_bound(high)}{closing}"
    return f"not {inside}" if step.op.reversed_range else inside


def _bound(value: float | None) -> str:
    # Data-Juicer's default for "no bound" is the largest machine integer.
    return "…" if value is None or abs(value) >= 1e18 else f"{value:.10g}"


def _short(value: Any) -> str:
    if isinstance(value, float) and (value.is_integer() or abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _source_table(fates: pl.LazyFrame) -> list[Table]:
    by = fates.group_by(pl.col("source").cast(pl.String)).agg(pl.len().alias("read"), pl.col("kept").sum())
    counts = by.drop_nulls("source").sort("read", "source", descending=[True, False]).collect()
    if not 1 < counts.height <= _SOURCES:
        return []
    return [
        Table(title="Documents of each source", columns=["source", "read", "kept"], rows=[*map(list, counts.rows())])
    ]


def _samples(curated: Curated) -> list[Example]:
    """One row of each operation, as the operation saw it."""
    found = pl.concat([chunk.samples() for ended in curated.passes for chunk in ended.chunks])
    examples = list[Example]()
    for step in curated.plan.steps:
        rows = found.filter(pl.col("index") == step.index).sort("order").head(1).to_dicts()
        for row in rows:
            if row["after"] is None:
                told = step.stats and row["value"] is not None
                number = f" has {step.stats[-1]} = {_short(row['value'])}," if told else ""
                title = f"Dropped by {step.name}: {row['id']}{number} kept is {kept_range(step)}"
                examples.append(Example(title=title, text=row["before"]))
            else:
                both = f"before:\n{row['before']}\n\nafter:\n{row['after']}"
                examples.append(Example(title=f"Changed by {step.name}: {row['id']}", text=both))
    return examples


def _clusters(curated: Curated, fates: pl.LazyFrame) -> list[Example]:
    """The largest sets of near duplicates, each with its survivor."""
    near = fates.filter(pl.col("duplicate_of").is_not_null() & (pl.col("value") < 1))
    sizes = near.group_by("duplicate_of").agg(pl.len(), pl.col("id", "value").head(SAMPLED)).collect()
    examples = list[Example]()
    for survivor, count, ids, values in (
        sizes.sort(["len", "duplicate_of"], descending=[True, False]).head(_CLUSTERS).rows()
    ):
        names = ", ".join(f"{one} ({value:.2f})" for one, value in zip(ids, values, strict=True))
        more = f" and {count - len(ids)} more" if count > len(ids) else ""
        first, second = _text(curated, survivor), _text(curated, ids[0])
        examples.append(
            Example(
                title=f"{count} near duplicates of {survivor}",
                text=f"dropped, with their similarity:\n{names}{more}\n\nkept:\n{first}\n\n{ids[0]}:\n{second}",
            )
        )
    return examples


def _text(curated: Curated, name: str) -> str:
    """The beginning of a text, as the barrier saw it."""
    for ended in curated.passes:
        for chunk in ended.chunks:
            if not chunk.count or "text" not in (rows := chunk.rows().drop(ROW)).columns:
                continue
            found = rows.filter(pl.col("id").cast(pl.String) == name)
            if found.height:
                text: str = found["text"][0]
                return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return ""
