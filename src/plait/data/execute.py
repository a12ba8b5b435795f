"""Run a plan over chunks of documents, on any engine, in bounded memory, with the same result.

    curated = execute(plan, read_batches(...), folder=scratch, engine=engine)
    write_table(curated.documents(), path)
    write_table(curated.lineage(), other)

Documents are cut into chunk files named by their content; a worker's result is a file named by the chunk, the
operations and their code. After a kill, finished results are found and used again. Between passes only keys,
ids and fates of rows are held in memory (about 50 bytes and an id per row, plus 8 bytes per key); texts stay
in memory-mapped files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from plait.core.hashing import hash_code
from plait.core.io import write_table
from plait.core.quarantine import Quarantine
from plait.data.op import Deduplicator, Texts
from plait.data.plan import DROPPED_BY, OpSetting, Pass, Plan, compile_plan, read_ops
from plait.engines.base import Engine
from plait.errors import DataError
from plait.records import DOCUMENT

OnProgress = Callable[[str, int, int], None]
"""Told ``(what, done, total)``."""

_GATHER_ROWS = 8_192
_KEYS = "__keys"


@dataclass(frozen=True)
class ChunkTask:
    """One chunk to visit: plain values, so that it can travel to any worker.

    Args:
        source: The chunk file.
        target: Where the result goes.
        ops: The operations of the whole recipe, as `plait.data.plan.read_ops` takes them.
        number: Which pass of the plan.
    """

    source: Path
    target: Path
    ops: str
    number: int


def execute(
    settings: Sequence[OpSetting],
    batches: Iterable[pa.RecordBatch],
    *,
    folder: Path,
    engine: Engine,
    quarantine: Quarantine,
    workers: int | None = None,
    on_progress: OnProgress | None = None,
) -> Curated:
    """Run operations over documents.

    Args:
        settings: The operations, as `plait.data.plan.read_ops` takes them.
        batches: Documents, columns ``id, text, source, group``; each batch is one chunk.
        folder: Where chunks are kept; results in it are used again.
        engine: Runs the chunks.
        quarantine: Where a row goes whose id was seen before.
        workers: How many chunks at a time; the engine's own number when not given.
        on_progress: Told how far it is.

    Raises:
        UsageError: An operation is not known.
        DataError: There is no document.
    """
    tell = on_progress or (lambda _what, _done, _total: None)
    plan = compile_plan(read_ops(settings))
    chunks = sources = _store(batches, folder, quarantine, tell)
    rows = Rows.of(chunks)
    code = hash_code("plait.data.execute") + "".join(hash_code(type(s.op).__module__) for s in plan.steps)
    text = json.dumps(list(settings), sort_keys=True)
    for number, one in enumerate(plan.passes):
        prefix = json.dumps([code, text, number, _identity(rows.dropped_by) if number else ""])
        tasks = [
            ChunkTask(c, folder / f"{xxhash.xxh3_128_hexdigest((prefix + c.name).encode())}.arrow", text, number)
            for c in chunks
        ]
        todo = [task for task in tasks if not task.target.exists()]
        engine.map(run_chunk, todo, workers=workers, on_done=lambda done, total: tell("chunks", done, total))
        chunks = [task.target for task in tasks]
        rows.take_drops(chunks)
        _compare(one, rows, chunks, tell)
    return Curated(plan, rows, sources, chunks)


def run_chunk(task: ChunkTask) -> None:
    """Visit one chunk, in a worker: the pass as one lazy query, then the keys of the deduplicators that follow."""
    import polars as pl

    plan = compile_plan(read_ops(json.loads(task.ops)))
    current = plan.passes[task.number]
    frame = cast("pl.DataFrame", pl.from_arrow(open_chunk(task.source)))
    frame = frame.drop([c for c in frame.columns if c.startswith(_KEYS)])
    if DROPPED_BY not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.Int16).alias(DROPPED_BY))
    frame = current.apply(frame.lazy()).collect()
    kept = frame[DROPPED_BY].is_null()
    for place, step in enumerate(current.barriers):
        assert isinstance(step.op, Deduplicator)
        found = step.op.keys(frame["text"].filter(kept))
        keys = np.zeros((frame.height, found.shape[1]), np.uint64)
        keys[kept.to_numpy()] = found
        frame = frame.with_columns(pl.Series(f"{_KEYS}{place}", keys))
    write_table(frame.to_arrow(), task.target)


class Rows:
    """What is known of every row, over all chunks: its id, and what became of it.

    Args:
        ids: The ids in order of the chunks.
        starts: Row number at which each chunk starts, int64 ``[chunks + 1]``.
    """

    def __init__(self, ids: pa.ChunkedArray, starts: np.ndarray) -> None:
        self.ids = ids
        self.starts = starts
        self.by_id = np.asarray(pc.call_function("sort_indices", [ids])).astype(np.int64)
        """Row numbers in order of id."""
        self.dropped_by = np.full(len(ids), -1, np.int16)
        """Index of the operation that dropped the row, -1 while it is kept."""
        self.survivor = np.full(len(ids), -1, np.int64)
        """Row kept instead of a duplicate, else -1."""
        self.similarity = np.full(len(ids), np.nan)
        """Similarity to that row."""

    @classmethod
    def of(cls, chunks: Sequence[Path]) -> Rows:
        """Rows of stored chunks."""
        columns = [open_chunk(chunk).column("id") for chunk in chunks]
        arrays = [array for column in columns for array in column.chunks]
        starts = np.cumsum([0, *(len(column) for column in columns)])
        return cls(pa.chunked_array(arrays, pa.string()), starts.astype(np.int64))

    def take_drops(self, chunks: Sequence[Path]) -> None:
        """Note what the filters of the last pass dropped."""
        for start, chunk in zip(self.starts, chunks, strict=False):
            column = open_chunk(chunk).column(DROPPED_BY)
            found = column.fill_null(-1).to_numpy().astype(np.int16)
            mine = self.dropped_by[start : start + len(found)]
            mine[mine < 0] = found[mine < 0]

    @property
    def kept_by_id(self) -> np.ndarray:
        """Row numbers of kept rows, in order of id."""
        return self.by_id[self.dropped_by[self.by_id] < 0]


@dataclass(frozen=True)
class Curated:
    """The result: kept documents and the fate of every row, both read from chunk files batch by batch."""

    plan: Plan
    rows: Rows
    sources: Sequence[Path]
    chunks: Sequence[Path]

    def documents(self) -> Iterator[pa.RecordBatch]:
        """Kept documents in order of id; columns as `plait.records.DOCUMENT`."""
        for table in gather(self.chunks, self.rows.starts, self.rows.kept_by_id, DOCUMENT.names):
            yield from table.cast(DOCUMENT).combine_chunks().to_batches()

    @property
    def lineage_schema(self) -> pa.Schema:
        """``id, kept, dropped_by, stat, value, duplicate_of``, then a column per stat."""
        stats = [(step.stat, pa.float64()) for step in self.plan.stats]
        text = pa.string()
        fixed = [("id", text), ("kept", pa.bool_()), ("dropped_by", text), ("stat", text), ("value", pa.float64())]
        return pa.schema([*fixed, ("duplicate_of", text), *stats])

    def lineage(self) -> Iterator[pa.RecordBatch]:
        """The fate of every row in order of id: who dropped it, by which number, and the numbers of all filters."""
        stats = [step.stat for step in self.plan.stats]
        rows, steps = self.rows, self.plan.steps
        at = 0
        for table in gather(self.chunks, rows.starts, rows.by_id, ["id", *stats]):
            order = rows.by_id[at : at + table.num_rows]
            at += table.num_rows
            fates = [steps[i] if i >= 0 else None for i in rows.dropped_by[order]]
            numbers = {stat: table.column(stat).to_pylist() for stat in stats}
            values = [
                None if s is None else numbers[s.stat][i] if s.stat in numbers else float(rows.similarity[order[i]])
                for i, s in enumerate(fates)
            ]
            survivors = pa.array(rows.survivor[order], mask=rows.survivor[order] < 0)
            columns: list[Any] = [
                table.column("id").combine_chunks(),
                pa.array([s is None for s in fates]),
                pa.array([s.name if s else None for s in fates], pa.string()),
                pa.array([s.stat if s else None for s in fates], pa.string()),
                pa.array(values, pa.float64()),
                _flat(rows.ids.take(survivors)),
                *(table.column(stat).combine_chunks() for stat in stats),
            ]
            yield pa.record_batch([_flat(c) for c in columns], schema=self.lineage_schema)


def gather(chunks: Sequence[Path], starts: np.ndarray, order: np.ndarray, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Rows by number, in the order asked, some thousands at a time."""
    files = [open_chunk(chunk).select(columns) for chunk in chunks]
    for at in range(0, len(order), _GATHER_ROWS):
        part = order[at : at + _GATHER_ROWS]
        owner = np.searchsorted(starts, part, side="right") - 1
        by_owner = np.argsort(owner, kind="stable")
        pieces = list[pa.Table]()
        for chunk in np.unique(owner):
            pieces.append(files[chunk].take(part[owner == chunk] - starts[chunk]))
        yield pa.concat_tables(pieces).combine_chunks().take(np.argsort(by_owner, kind="stable"))


class _ChunkTexts(Texts):
    """Texts by their place in a list of rows, fetched from chunk files."""

    def __init__(self, rows: Rows, chunks: Sequence[Path], order: np.ndarray) -> None:
        self._starts = rows.starts
        self._files = [open_chunk(chunk).column("text") for chunk in chunks]
        self._order = order

    def fetch(self, positions: Sequence[int]) -> list[str]:
        found = list[str]()
        for position in positions:
            row = int(self._order[position])
            chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
            found.append(self._files[chunk][row - int(self._starts[chunk])].as_py())
        return found


def _compare(one: Pass, rows: Rows, chunks: Sequence[Path], tell: OnProgress) -> None:
    """Let the deduplicators of a pass drop rows, each among those the one before it kept."""
    for place, step in enumerate(one.barriers):
        tell(step.name, place, len(one.barriers))
        assert isinstance(step.op, Deduplicator)
        order = rows.kept_by_id
        keys = np.concatenate([_keys(chunk, f"{_KEYS}{place}") for chunk in chunks])[order]
        found = step.op.find(keys, _ChunkTexts(rows, chunks, order))
        dropped = order[found.position]
        rows.dropped_by[dropped] = step.index
        rows.survivor[dropped] = order[found.survivor]
        rows.similarity[dropped] = found.similarity
        tell(step.name, place + 1, len(one.barriers))


def _keys(chunk: Path, name: str) -> np.ndarray:
    column = _flat(open_chunk(chunk).column(name))
    return column.flatten().to_numpy().reshape(len(column), column.type.list_size)


def _store(batches: Iterable[pa.RecordBatch], folder: Path, quarantine: Quarantine, tell: OnProgress) -> list[Path]:
    """Write each batch to a file named by its content; a row whose id was seen before is quarantined."""
    seen, chunks, total = set[str](), list[Path](), 0
    for number, batch in enumerate(batches):
        table = _without_repeats(pa.Table.from_batches([batch]), seen, quarantine)
        if not table.num_rows:
            continue
        new = folder / "new.arrow"
        write_table(table, new)
        # The number keeps two equal chunks apart.
        chunks.append(new.rename(folder / f"{number:06d}-{_digest(new)}.arrow"))
        total += table.num_rows
        tell("documents read", total, total)
    if not chunks:
        raise DataError(
            "no document is left to work on", code="data.empty", hint=f"see {quarantine.path} for what was set aside"
        )
    return chunks


def _without_repeats(table: pa.Table, seen: set[str], quarantine: Quarantine) -> pa.Table:
    ids: list[str] = table.column("id").to_pylist()
    fresh = list[bool]()
    for index, one in enumerate(ids):
        fresh.append(one not in seen)
        if one in seen:
            record = table.slice(index, 1).to_pylist()[0]
            quarantine.add(where=f"id {one}", reason="id was seen before", record=record)
        seen.add(one)
    return table if all(fresh) else table.filter(pa.array(fresh))


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def open_chunk(path: Path) -> pa.Table:
    """A chunk file, memory-mapped: reading costs only the pages that are touched."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _flat(array: Any) -> Any:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _identity(array: np.ndarray) -> str:
    return xxhash.xxh3_128_hexdigest(array.tobytes())
