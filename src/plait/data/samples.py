"""Some rows of a dataset: the first, or a fair sample in one pass."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import polars as pl

from plait.core.quarantine import Quarantine
from plait.data.curation import CurationJob, Summary
from plait.data.names import ROW
from plait.data.read import blocks
from plait.errors import UsageError, nearest


def first_rows(job: CurationJob, count: int) -> tuple[pl.DataFrame, float]:
    """The first rows of a job's dataset, and how many times larger the whole is, by rows of the blocks read.

    Of a dataset whose size is not known without reading it (compressed streams, the hub) the whole counts as once.
    """
    frames, rows = list[pl.DataFrame](), 0
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        quarantine = Quarantine(Path(folder) / "rejects.jsonl")
        for batch in job.batches(quarantine):
            frames.append(batch.frame.drop(ROW).head(count - rows))
            rows += frames[-1].height
            if rows >= count:
                break
    sample = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
    return sample, _times_larger(job, sample)


def _times_larger(job: CurationJob, sample: pl.DataFrame) -> float:
    paths = [Path(source.path) for source in job.sources]
    known = [p for p in paths if p.is_file() and p.suffix in (".jsonl", ".csv", ".tsv")]
    if len(known) != len(paths) or not sample.height:
        return 1.0
    size = sum(p.stat().st_size for p in known)
    return max(1.0, size / len(sample.write_ndjson().encode()))


def some_rows(source: Path, count: int, *, seed: int) -> list[dict[str, Any]]:
    """A fair sample of the rows of a file or folder, in the order of the input: those of the lowest hash."""
    best = pl.DataFrame()
    start = 0
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        quarantine = Quarantine(Path(folder) / "rejects.jsonl")
        for block in blocks(str(source)):
            frame = cast("pl.DataFrame", pl.from_arrow(block.load(quarantine)))
            place = pl.int_range(start, start + pl.len())
            frame = frame.with_columns(place.alias("__place"), place.hash(seed=seed).alias("__order"))
            start += frame.height
            best = pl.concat([best, frame], how="diagonal_relaxed").bottom_k(count, by="__order")
    return best.sort("__place").drop("__place", "__order").to_dicts() if best.height else []


def dropped_rows(folder: Path, op: str, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Some rows that an operation of a finished curation dropped: their fates.

    Raises:
        UsageError: There is no such run, or no such operation in it.
    """
    summary = Summary.open(folder)
    names = [told["name"] for told in summary.ops]
    if op not in names:
        raise UsageError(f'no operation "{op}" ran', code="data.no-such-op", hint=nearest(op, names))
    fates = pl.scan_parquet(summary.folder / "lineage.parquet").filter(pl.col("dropped_by").cast(pl.String) == op)
    chosen = fates.with_columns(pl.col("id").hash(seed=seed).alias("__order")).bottom_k(count, by="__order")
    rows = chosen.drop("__order").collect().to_dicts()
    return [{k: v for k, v in row.items() if v is not None} for row in rows]
