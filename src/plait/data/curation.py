"""One curation from files to files: read, run the plan, write what is kept and why the rest is not.

    result = curate(CurationJob(ops, [Source("pages.jsonl")], Path("clean.jsonl")), engine=engine)

Beside the export lies a folder that explains it:

    clean.run/recipe.yaml       what ran; runs again as it is
    clean.run/summary.json      counts and seconds of every operation
    clean.run/lineage.parquet   the fate of every row
    clean.run/quarantine.jsonl  records that could not be read
    clean.run/chunks/           results of chunks, used again by the next run; those of the last two settings are kept

How the export is written, and what else may lie beside it, is in `plait.data.exports`.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import polars as pl
from filelock import FileLock, Timeout

from plait.core.catalog import find
from plait.core.folder import write_json, write_text
from plait.core.io import write_table
from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.blocks import Block as ChunkSource
from plait.data.chunks import prune
from plait.data.execute import Curated, OnProgress, execute
from plait.data.exports import check_export, run_folder, stats_path, whole_name, write_shards, write_stats
from plait.data.juicer.recipe import JuicerRecipe
from plait.data.lineage import lineage, lineage_schema, stats_of_kept
from plait.data.names import STATS
from plait.data.op import Barrier, Mapper, Op
from plait.data.plan import OpSetting, read_ops
from plait.data.read import Block, blocks
from plait.data.read.sources import Source
from plait.data.report import kept_range
from plait.data.visit import Spent
from plait.data.write import write_rows
from plait.engines.base import Engine
from plait.errors import RunError, UsageError

BLOCK_BYTES = 6 << 20
"""About how much of a file is one chunk: enough to keep columns long, little enough to hold some at a time."""

ASKED_BLOCK_BYTES = 64 << 10
"""The same where a language model is asked about each row: a run that is killed loses the answers of a chunk."""


@dataclass(frozen=True)
class CurationJob:
    """What to curate.

    Args:
        ops: The operations, as `plait.data.plan.read_ops` takes them.
        sources: What to read.
        export: File to write; its suffix says how.
        text_key: Field of the text.
        required: Fields that every record must have.
        max_rows: At most so many rows of all sources together.
        suffixes: Suffixes of the files read in a folder; all known ones when empty.
        study: Measure everything, so that thresholds can be tried afterwards.
        keep_stats: Write the numbers of each row into the column ``__dj__stats__``; measures everything too.
        shard_bytes: About how large each file of the result is; 0 for a single file.
        max_bad_fraction: Stop if more than this share of the records is bad, 0 to 1.
        block_bytes: About how much of a file is one chunk; by the operations when 0.
    """

    ops: Sequence[OpSetting]
    sources: Sequence[Source]
    export: Path
    text_key: str = "text"
    required: Sequence[str] = ("text",)
    max_rows: int | None = None
    suffixes: Sequence[str] = ()
    study: bool = False
    keep_stats: bool = False
    shard_bytes: int = 0
    max_bad_fraction: float = 0.01
    block_bytes: int = 0

    @classmethod
    def of_recipe(cls, recipe: JuicerRecipe, *, compat: bool = False) -> CurationJob:
        """What a Data-Juicer recipe asks for.

        Args:
            recipe: The recipe.
            compat: Reproduce Data-Juicer's known bugs in every operation that can.

        Raises:
            UsageError: It does not say what to read or where to write.
        """
        if not recipe.sources or recipe.export_path is None:
            missing = "what to read (dataset_path)" if not recipe.sources else "where to write (export_path)"
            raise UsageError(
                f"the recipe does not say {missing}",
                code="data.incomplete-recipe",
                where=str(recipe.path),
                hint="add it to the recipe, or say it on the command line",
            )
        return cls(
            ops=[_compatible(op) for op in recipe.ops] if compat else recipe.ops,
            sources=recipe.sources,
            export=recipe.export_path,
            text_key=recipe.text_key,
            required=recipe.required,
            max_rows=recipe.max_rows,
            suffixes=recipe.suffixes,
            keep_stats=recipe.keep_stats,
            shard_bytes=recipe.export_shard_bytes,
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> CurationJob:
        """What `to_dict` gave."""
        given: dict[str, Any] = dict(plain)
        given["export"] = Path(given["export"])
        given["sources"] = [Source(**one) for one in given["sources"]]
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "export": str(self.export), "sources": [asdict(one) for one in self.sources]}

    @property
    def folder(self) -> Path:
        """Where the explanation lies."""
        return run_folder(self.export)

    @property
    def _asks(self) -> bool:
        return any(op.cost == "llm" for _, op in read_ops(self.ops))

    @property
    def where(self) -> str:
        """What is read, in short."""
        return ", ".join(source.path for source in self.sources)

    def blocks(self, skipped: Counter[str] | None = None) -> Iterator[Block]:
        """The dataset, cut into blocks.

        Args:
            skipped: Counts files of document folders that are left out, by reason.
        """
        return blocks(
            self.sources,
            block_bytes=self.block_bytes or (ASKED_BLOCK_BYTES if self._asks else BLOCK_BYTES),
            text_key=self.text_key,
            texts=True,  # Data-Juicer reads no record without its text
            required=self.required,
            max_rows=self.max_rows,
            suffixes=self.suffixes,
            skipped=skipped,
        )

    def batches(self, quarantine: Quarantine) -> Iterator[Batch]:
        """The dataset, some megabytes at a time."""
        for block in self.blocks():
            yield Batch.of(cast("pl.DataFrame", pl.from_arrow(block.load(quarantine))))

    def to_yaml(self) -> str:
        """The job as a recipe of Data-Juicer's form."""
        from plait.core.yaml import dump_yaml

        whole = self.max_rows is None and all(s == Source(s.path, weight=s.weight) for s in self.sources)
        paths = " ".join(f"{source.weight:g} {shlex.quote(source.path)}" for source in self.sources)
        recipe: dict[str, Any] = {"dataset_path": paths} if whole else {"dataset": self._dataset()}
        recipe |= {"export_path": str(self.export), "text_keys": self.text_key}
        if self.suffixes:
            recipe["suffixes"] = list(self.suffixes)
        if self.required:
            recipe["validators"] = [{"type": "required_fields", "required_fields": list(self.required)}]
        if self.keep_stats:
            recipe["keep_stats_in_res_ds"] = True
        if self.shard_bytes:
            recipe["export_shard_size"] = self.shard_bytes
        recipe["process"] = [{op: None} if isinstance(op, str) else dict(op) for op in self.ops]
        return dump_yaml(recipe)

    def _dataset(self) -> dict[str, Any]:
        """What is read, in the longer form that can say all of it."""
        known = [{k: v for k, v in asdict(source).items() if v is not None} for source in self.sources]
        most = {} if self.max_rows is None else {"max_sample_num": self.max_rows}
        return {"configs": [{"type": "local", **source} for source in known], **most}


@dataclass(frozen=True)
class Summary:
    """What a finished curation says of itself."""

    folder: Path
    read: int
    kept: int
    quarantined: Mapping[str, int]
    ops: Sequence[Mapping[str, Any]]
    blocks: Sequence[tuple[str, int]]
    recipe: Mapping[str, Any]
    seconds: float
    exported: Sequence[str] = ()
    skipped: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def job(self) -> CurationJob:
        """What ran."""
        return CurationJob.from_dict(self.recipe)

    @classmethod
    def open(cls, folder: Path) -> Summary:
        """The summary of a finished curation.

        Raises:
            UsageError: There is none.
        """
        places = [folder] if folder.is_dir() else [run_folder(folder), run_folder(whole_name(folder))]
        path = next((p for place in places if (p := place / "summary.json").exists()), None)
        if path is None:
            raise UsageError(
                f"there is no curation at {folder}",
                code="data.no-run",
                hint="name the .run folder beside the export, or the export itself",
            )
        return cls(folder=path.parent, **json.loads(path.read_bytes()))


def curate(
    job: CurationJob, *, engine: Engine, workers: int | None = None, on_progress: OnProgress | None = None
) -> tuple[Curated, Summary]:
    """Run a job; see the top of this file.

    Raises:
        UsageError: An operation or the dataset is not known, or the export cannot be written or is what is read.
        DataError: There is no record, or too many are bad.
    """
    begin = time.perf_counter()
    folder = job.folder
    check_export(job.export, folder, job.sources, job.suffixes)  # an error now, not after the work
    with _alone(folder):
        return _curate(job, engine, workers, on_progress, begin)


def _curate(
    job: CurationJob, engine: Engine, workers: int | None, on_progress: OnProgress | None, begin: float
) -> tuple[Curated, Summary]:
    folder = job.folder
    quarantine = Quarantine(folder / "quarantine.jsonl")
    quarantine.path.unlink(missing_ok=True)
    places, skipped = list[str](), Counter[str]()
    curated = execute(
        job.ops,
        cast("Iterator[ChunkSource]", _noted(job, places, skipped)),
        folder=folder / "chunks",
        engine=engine,
        quarantine=quarantine,
        workers=workers,
        study=job.study or job.keep_stats,
        max_bad_fraction=job.max_bad_fraction,
        where=job.where,
        on_progress=on_progress,
    )
    _forget(folder)
    write_text(folder / "recipe.yaml", job.to_yaml())
    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(write_table, lineage(curated), folder / "lineage.parquet", schema=lineage_schema(curated))
        exported = _export(curated, job)
        told.result()
    summary = Summary(
        folder=folder,
        read=curated.read,
        kept=curated.kept,
        quarantined=quarantine.counts,
        ops=_told(curated),
        blocks=[(place, chunk.read) for place, chunk in zip(places, curated.passes[0].chunks, strict=True)],
        recipe=job.to_dict(),
        seconds=round(time.perf_counter() - begin, 3),
        exported=[str(path) for path in exported],
        skipped=skipped,
    )
    write_json(folder / "summary.json", {k: v for k, v in vars(summary).items() if k != "folder"})
    prune(folder / "chunks", curated.results)
    return curated, summary


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Holds the folder for this process, and takes away what a killed one left half done.

    Raises:
        RunError: Another process works in it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            "another process curates into this folder",
            code="data.busy",
            where=str(folder),
            hint="wait for it, or export to another file",
        ) from error
    try:
        for part in (folder / "chunks").glob("*.partial"):
            shutil.rmtree(part)
        yield
    finally:
        lock.release()


def _noted(job: CurationJob, places: list[str], skipped: Counter[str]) -> Iterator[Block]:
    for block in job.blocks(skipped):
        places.append(block.where)
        yield block


def _compatible(setting: OpSetting) -> OpSetting:
    """An operation with Data-Juicer's known bugs, if it has any."""
    name, given = (setting, {}) if isinstance(setting, str) else next(iter(setting.items()))
    kind = find("op", name)
    fixes = isinstance(kind, type) and issubclass(kind, Op) and "compat" in kind.model_fields
    return {name: {**(given or {}), "compat": "data-juicer"}} if fixes else setting


def _export(curated: Curated, job: CurationJob) -> list[Path]:
    """Write the rows kept, and their numbers where all were measured; the files of the rows, in order."""
    # Rows that a reducer made were never measured.
    made = any(ended.reduced is not None for ended in curated.passes)
    measured = (job.study or job.keep_stats) and bool(curated.plan.stats) and not made
    frames = _with_stats(curated) if job.keep_stats and measured else curated.frames()
    if job.shard_bytes:
        files = write_shards(frames, job.export, job.shard_bytes)
    else:
        write_rows(frames, job.export)
        files = [job.export]
    if measured:
        write_stats(stats_of_kept(curated), job.export)
    return files


def _forget(folder: Path) -> None:
    """Takes away what an earlier run says of itself: its numbers would stand beside other rows."""
    path = folder / "summary.json"
    if path.exists():
        job = Summary.open(folder).job
        if job.study or job.keep_stats:
            stats_path(job.export).unlink(missing_ok=True)
        path.unlink()


def _with_stats(curated: Curated) -> Iterator[pl.DataFrame]:
    for rows, stats in zip(curated.frames(), stats_of_kept(curated), strict=True):
        yield rows.with_columns(stats.to_struct(STATS)) if stats.width else rows


def _told(curated: Curated) -> list[dict[str, Any]]:
    """What each operation did, in the order of the recipe."""
    told = list[dict[str, Any]]()
    for step in curated.plan.steps:
        spent = curated.spent.get(step.index, Spent())
        told.append(
            {
                "name": step.name,
                "settings": step.op.model_dump(mode="json", exclude_defaults=True),
                "keeps": kept_range(step) if not isinstance(step.op, Mapper) else None,
                "stats": list(step.stats) or ([step.op.stat] if isinstance(step.op, Barrier) else []),
                "seconds": round(spent.seconds, 4),
                "cpu_seconds": round(spent.cpu_seconds, 4),
                "read": spent.read,
                "kept": spent.kept,
                "reused": curated.reused.get(step.index, 0),
                "failed": spent.failed,
                "facts": dict(curated.facts.get(step.index, {})),
            }
        )
    return told
