"""Run a plan over blocks of rows, on any engine, in bounded memory, with the same result.

    curated = execute(ops, blocks, folder=scratch, engine=engine)
    write_rows(curated.frames(), path)
    write_table(curated.lineage(), other)

A worker reads a block, runs one pass over it, and leaves a folder named by the block's content, the operations and
their code. After a kill, finished folders are found and used again; a change to an operation leaves the passes before
it as they are. Between passes the driver holds eleven bytes per row, and what barriers keep; texts stay on disk.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from xxhash import xxh3_128

from plait.core.hashing import files_below, hash_code, hash_path
from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.blocks import Block
from plait.data.chunks import Chunk, finished, store
from plait.data.memory import give_back, keep
from plait.data.names import ROW, STATS
from plait.data.op import Barrier, Filter, Mapper, Op, Reducer
from plait.data.plan import ASKING, Group, OpSetting, Pass, Plan, Step, compile_plan, read_ops
from plait.data.rows import ChunkRows
from plait.data.visit import Spent, Visit, now, visit
from plait.engines.base import Engine
from plait.engines.mapping import processors
from plait.errors import DataError

OnProgress = Callable[[str, int, int], None]
"""Told ``(what, done, total)``; a total of 0 is not known yet."""

_LONGEST_PATH = 1_024  # longer settings are texts

_COMPILING = "compiling loops, once after installation"

PROBE_ROWS = 500
"""Rows on which selectivity is measured before a run."""


@dataclass(frozen=True)
class Recipe:
    """What every worker must know.

    Args:
        ops: The operations as `plait.data.plan.read_ops` takes them, as JSON.
        rates: By index of a filter, share of rows it keeps in the probe: decides the order.
        study: Measure everything; see `plait.data.visit.visit`.
    """

    ops: str
    rates: tuple[tuple[int, float], ...] = ()
    study: bool = False

    @property
    def plan(self) -> Plan:
        """The compiled plan."""
        return _compiled(self)


@lru_cache(maxsize=16)
def _compiled(recipe: Recipe) -> Plan:
    plan = compile_plan(read_ops(json.loads(recipe.ops)), keep_answers=not recipe.study)
    return plan.ordered(dict(recipe.rates))


@dataclass(frozen=True)
class Task:
    """One pass over one chunk.

    Args:
        recipe: The operations.
        number: Which pass.
        source: A block of the input, or the result of the pass before and which of its rows are left.
        folder: Where results lie.
        prefix: What decides the result apart from the source.
        states: By index of a barrier before this pass, the file that it left for rewriting.
    """

    recipe: Recipe
    number: int
    source: Block | tuple[Chunk, np.ndarray]
    folder: Path
    prefix: str
    states: Mapping[int, Path]

    @property
    def target(self) -> Path:
        """The folder of the result."""
        if isinstance(self.source, tuple):
            chunk, kept = self.source
            own = f"{chunk.folder.name}{xxh3_128(np.packbits(kept).tobytes()).hexdigest()}"
        else:
            own = self.source.key
        return self.folder / _digest(f"{self.prefix}\0{own}")


@dataclass(frozen=True)
class Done:
    """A worker's answer: the result, and whether an earlier run left it."""

    chunk: Chunk
    found: bool


def run_task(task: Task) -> Done:
    """Run one pass over one chunk, in a worker, unless its result is there already."""
    target = task.target
    if (chunk := finished(target)) is not None:
        return Done(chunk, found=True)
    rejects = Quarantine(target.with_suffix(".rejects.jsonl"))
    try:
        plan = task.recipe.plan
        batch = _load(task, rejects)
        visited = visit(
            plan.passes[task.number], batch, states=task.states, study=task.recipe.study, carry=plan.carries_stats
        )
        return Done(store(visited, rejects.path, rejects.counts, target), found=False)
    finally:
        rejects.path.unlink(missing_ok=True)


def _load(task: Task, rejects: Quarantine) -> Batch:
    if isinstance(task.source, tuple):
        chunk, kept = task.source
        return Batch.of(chunk.rows().drop(ROW).filter(pl.Series(kept, dtype=pl.Boolean)))
    frame = cast("pl.DataFrame", pl.from_arrow(task.source.load(rejects)))
    return Batch.of(_with_ids(frame, task.source.key))


def _with_ids(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    """The rows of a block with an id each: rows that have none get one from the key of their block."""
    if "id" in frame.columns:
        return frame
    return frame.with_columns(pl.concat_str(pl.lit(key[:12]), pl.int_range(pl.len()), separator="-").alias("id"))


@dataclass
class Ended:
    """What is known after a pass.

    Args:
        chunks: Its results, in order of the input.
        kept: For each, which rows its barriers left, bool ``[rows]``.
        dropped_by: For each, index of the barrier that dropped a row, -1 where none did.
        value: For each, the similarity or rank it was dropped for.
        survivors: For each, places of rows and the ids of those kept instead.
        reduced: What a reducer made of the rows left.
    """

    chunks: list[Chunk]
    kept: list[np.ndarray]
    dropped_by: list[np.ndarray]
    value: list[np.ndarray]
    survivors: list[list[tuple[np.ndarray, pl.Series]]]
    reduced: Ended | None = None


@dataclass
class Curated:
    """The result, read from the files of the chunks.

    Args:
        plan: What ran.
        passes: What each pass left.
        spent: By index of the operation, seconds and rows; of results that an earlier run left, as that run measured.
        reused: By index of the operation, how many of the rows it read were read by that earlier run.
        facts: By index of the barrier, what it tells of its decision.
        states: By index of a barrier that rewrites, the file it left for that.
    """

    plan: Plan
    passes: list[Ended] = field(default_factory=list[Ended])
    spent: dict[int, Spent] = field(default_factory=dict[int, Spent])
    reused: dict[int, int] = field(default_factory=dict[int, int])
    facts: dict[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])
    states: dict[int, Path] = field(default_factory=dict[int, Path])

    @property
    def read(self) -> int:
        """Rows read."""
        return sum(chunk.read for chunk in self.passes[0].chunks)

    @property
    def last(self) -> Ended:
        """What is left in the end."""
        return self.passes[-1].reduced or self.passes[-1]

    @property
    def results(self) -> set[str]:
        """Names of the results it was made of, in the folder where they are kept."""
        ended = [*self.passes, *(one.reduced for one in self.passes if one.reduced is not None)]
        return {chunk.folder.name for one in ended for chunk in one.chunks}

    @property
    def kept(self) -> int:
        """Rows kept."""
        return sum(int(mask.sum()) for mask in self.last.kept)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows kept, chunk by chunk, in the order of the input."""
        hidden = [ROW, STATS] if self.plan.carries_stats else [ROW]
        for chunk, kept in zip(self.last.chunks, self.last.kept, strict=True):
            yield chunk.rows().drop(hidden, strict=False).filter(pl.Series(kept, dtype=pl.Boolean))


def execute(
    settings: Sequence[OpSetting],
    blocks: Iterable[Block],
    *,
    folder: Path,
    engine: Engine,
    quarantine: Quarantine,
    workers: int | None = None,
    study: bool = False,
    memory_bytes: int = 64 << 20,
    max_bad_fraction: float = 1.0,
    where: str = "the input",
    on_progress: OnProgress | None = None,
) -> Curated:
    """Run operations over rows.

    Args:
        settings: The operations, as `plait.data.plan.read_ops` takes them.
        blocks: The input, in order; each is one chunk.
        folder: Where results are kept; what is in it already is used again.
        engine: Runs the chunks: ``local`` in threads (in processes, if an operation runs Python row by row), any
            other engine by its `stream`.
        quarantine: Where records go that cannot be read.
        workers: How many processors to keep busy; as many as the engine has when not given.
        study: Measure every number of every row, so that other thresholds can be tried without running again.
        memory_bytes: How much a barrier may hold beyond a few bytes per row.
        max_bad_fraction: Stop once all is read, before the first barrier, if more than this share of the records is
            bad, 0 to 1.
        where: The input, for errors.
        on_progress: Told how far it is.

    Raises:
        UsageError: An operation is not known.
        DataError: There is no row, or too many records are bad.
    """
    from plait.data.loops import compiling

    folder.mkdir(parents=True, exist_ok=True)
    tell = on_progress or (lambda _what, _done, _total: None)
    with compiling(lambda: tell(_COMPILING, 0, 0)):
        ops = json.dumps(list(settings), sort_keys=True)
        unordered = Recipe(ops, study=study).plan
        for step in unordered.steps:
            step.op.ready()
        sample, blocks = _peek(blocks, folder)
        recipe = Recipe(ops, _probe(unordered, sample), study)
        result = Curated(recipe.plan)
        prefix = ""
        for number, one in enumerate(recipe.plan.passes):
            prefix = _prefix(prefix, one, result.states, study=study)
            states = dict(result.states)
            keep()
            tasks = (Task(recipe, number, source, folder, prefix, states) for source in _sources(result, blocks))
            chunks = list[Chunk]()
            for done in _map(tasks, engine, workers, processes=recipe.plan.python_rows):
                chunks.append(done.chunk)
                for index, spent in done.chunk.spent.items():
                    result.spent.setdefault(index, Spent()).__iadd__(spent)
                    result.reused[index] = result.reused.get(index, 0) + done.found * spent.read
                tell("rows read" if number == 0 else f"pass {number + 1}", sum(c.read for c in chunks), 0)
            ended = _unbarred(chunks)
            result.passes.append(ended)
            if number == 0:
                _collect(chunks, quarantine, where)
                quarantine.check(result.read + quarantine.total, max_bad_fraction=max_bad_fraction, where=where)
            if one.barriers:
                give_back()
            for step in one.barriers:
                _decide(step, ended, result, folder, memory_bytes, tell)
            if one.reducer is not None:
                _reduce(one.reducer, ended, folder, prefix)
    return result


def _digest(text: str) -> str:
    return xxh3_128(text.encode()).hexdigest()


def _peek(blocks: Iterable[Block], folder: Path) -> tuple[pl.DataFrame, Iterable[Block]]:
    """The first rows, however they are cut into blocks, and all blocks."""
    iterator = iter(blocks)
    seen, frames, rows = list[Block](), list[pl.DataFrame](), 0
    rejects = Quarantine(folder / "probe.rejects.jsonl")
    while rows < PROBE_ROWS and (block := next(iterator, None)) is not None:
        seen.append(block)
        frame = cast("pl.DataFrame", pl.from_arrow(block.load(rejects)))
        frames.append(frame.head(PROBE_ROWS - rows))
        rows += frames[-1].height
    rejects.path.unlink(missing_ok=True)
    sample = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
    return sample, chain(seen, iterator)


def _probe(plan: Plan, sample: pl.DataFrame) -> tuple[tuple[int, float], ...]:
    """What share of the first rows each filter keeps, where there is an order to choose."""
    choice = any(isinstance(part, Group) and len(part.filters) > 1 for one in plan.passes for part in one.parts)
    return tuple(sorted(pass_rates(plan, sample).items())) if choice and sample.height else ()


def pass_rates(plan: Plan, rows: pl.DataFrame) -> dict[int, float]:
    """By index of the filter, what share of some rows it keeps.

    Only of filters of the first pass, and of none that needs a model.
    """
    batch, rates = Batch.of(rows), dict[int, float]()
    for part in plan.passes[0].parts:
        if isinstance(part, Step):
            if part.op.cost in ASKING:
                break
            assert isinstance(part.op, Mapper)
            batch = part.op.apply(batch)
            continue
        for step in part.filters if isinstance(part, Group) else ():
            if step.op.cost not in ASKING and len(batch):
                assert isinstance(step.op, Filter)
                rates[step.index] = float(step.op.keeps(batch, step.op.measure(batch)).mean())
    return rates


def _prefix(before: str, one: Pass, states: Mapping[int, Path], *, study: bool) -> str:
    """Hash of all that decides the results of a pass, apart from its rows."""
    steps = [*one.steps, *one.ends]
    what = [
        [s.index, s.name, s.op.model_dump(mode="json"), files_of(s.op), hash_code(type(s.op).__module__)] for s in steps
    ]
    found = {index: hash_path(path) for index, path in states.items()}
    text = json.dumps([before, study, what, found, hash_code("plait.data.visit")], sort_keys=True, default=str)
    return _digest(text)


def files_of(op: Op) -> dict[str, object]:
    """The content of files, and what is in folders, that an operation's settings name."""
    values = [one for _, value in op for one in (value if isinstance(value, tuple | list) else [value])]
    named = [Path(value) for value in values if isinstance(value, str | Path) and 0 < len(str(value)) < _LONGEST_PATH]
    found: dict[str, object] = {str(path): hash_path(path) for path in named if path.is_file()}
    for folder in (path for path in named if path.is_dir()):
        # Models are large: their names, sizes and times of change must do.
        stats = [(str(p.relative_to(folder)), p.stat()) for p in files_below(folder)]
        found[str(folder)] = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return found


def _sources(result: Curated, blocks: Iterable[Block]) -> Iterator[Block | tuple[Chunk, np.ndarray]]:
    if not result.passes:
        yield from blocks
        return
    yield from zip(result.last.chunks, result.last.kept, strict=True)


def _map(tasks: Iterator[Task], engine: Engine, workers: int | None, *, processes: bool) -> Iterator[Done]:
    """Results in order of the tasks, some at a time."""
    at_once = workers or getattr(engine, "workers", None) or processors()
    if engine.name == "local" and not processes:
        # One more than processors: one waits for the interpreter's lock while the others compute without it.
        yield from _in_threads(tasks, at_once + (at_once > 1))
        return
    yield from engine.stream(run_task, tasks, workers=at_once)


def _in_threads(tasks: Iterator[Task], workers: int) -> Iterator[Done]:
    """Polars and the compiled loops give the interpreter's lock away, so threads of one process are enough."""
    if workers == 1:
        yield from map(run_task, tasks)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque[Future[Done]]()
        try:
            for task in tasks:
                waiting.append(pool.submit(run_task, task))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _unbarred(chunks: list[Chunk]) -> Ended:
    return Ended(
        chunks,
        [np.ones(c.count, np.bool_) for c in chunks],
        [np.full(c.count, -1, np.int16) for c in chunks],
        [np.full(c.count, np.nan) for c in chunks],
        [[] for _ in chunks],
    )


def _collect(chunks: Sequence[Chunk], quarantine: Quarantine, where: str) -> None:
    for chunk in chunks:
        for line in chunk.rejected():
            quarantine.add(where=line["where"], reason=line["reason"], record=line["record"])
    if not sum(chunk.read for chunk in chunks):
        reasons = ", ".join(f"{count} × {reason}" for reason, count in sorted(quarantine.counts.items()))
        raise DataError(
            f"no row is left to work on: all were set aside ({reasons})" if reasons else "there is no row to work on",
            code="data.empty",
            where=where,
            hint=f"look at {quarantine.path}" if reasons else "the input is empty; check its path",
        )


def _decide(step: Step, ended: Ended, result: Curated, folder: Path, memory_bytes: int, tell: OnProgress) -> None:
    """Let a barrier drop rows."""
    assert isinstance(step.op, Barrier)
    scratch = folder / f"barrier-{step.index}"
    if scratch.exists():
        shutil.rmtree(scratch)  # of a run that was killed while it decided
    scratch.mkdir()
    rows = ChunkRows(step.index, ended.chunks, ended.kept, scratch=scratch, memory_bytes=memory_bytes)
    tell(step.name, 0, rows.count)
    clock = now()
    decision = step.op.decide(rows)
    spent = result.spent.setdefault(step.index, Spent())
    spent += Spent.since(clock, 0, -len(decision.position))
    tell(step.name, rows.count, rows.count)
    result.facts[step.index] = decision.facts
    if decision.state is not None:
        result.states[step.index] = decision.state
    named = decision.survivor >= 0
    names = rows.names(decision.survivor[named])
    name_at = np.cumsum(named) - 1
    owner = np.searchsorted(rows.starts, decision.position, side="right") - 1
    for number in np.unique(owner).tolist():
        here = owner == number
        places = np.flatnonzero(ended.kept[number])[decision.position[here] - rows.starts[number]]
        ended.kept[number][places] = False
        ended.dropped_by[number][places] = step.index
        ended.value[number][places] = decision.value[here]
        ended.survivors[number].append((places[named[here]], names.gather(name_at[here & named])))


def _reduce(step: Step, ended: Ended, folder: Path, prefix: str) -> None:
    """Replace the rows of a pass by those a reducer makes of them."""
    assert isinstance(step.op, Reducer)

    def batches() -> Iterator[Batch]:
        for chunk, kept in zip(ended.chunks, ended.kept, strict=True):
            yield Batch(chunk.rows().filter(pl.Series(kept, dtype=pl.Boolean)))

    state = _digest(prefix + "".join(chunk.folder.name for chunk in ended.chunks))
    made = list[Chunk]()
    for number, frame in enumerate(step.op.reduce(batches())):
        target = folder / _digest(f"{state}{number}")
        batch = Batch.of(frame.drop(ROW, strict=False))
        made.append(finished(target) or store(Visit(batch, pl.DataFrame(), {}), target, {}, target))
    ended.reduced = _unbarred(made)
