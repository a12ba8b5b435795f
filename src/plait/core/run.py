"""Run a recipe: the main loop, and what a stage needs around it.

    result = run(load_recipe("quickstart"), root=Path("runs"))

A stage whose inputs, settings, seed and code hash the same as a finished one is reused, from this run or a neighbour;
a run that was killed goes on where it stopped. Nothing of a stage is visible to others until all of it is on disk.
"""

from __future__ import annotations

import errno
import gc
import shutil
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.core.environment import describe_environment
from plait.core.events import Event, EventLog
from plait.core.folder import (
    Done,
    RunFolder,
    copy_stage,
    damaged_files,
    list_runs,
    publish,
    read_done,
    settle,
    write_json,
    write_text,
)
from plait.core.hashing import hash_code, hash_json, hash_path
from plait.core.references import map_inputs, parse_reference
from plait.core.report import write_report
from plait.core.seeds import Seeds
from plait.core.stage import Stage, StageContext
from plait.errors import PlaitError, RunError, StageFailed

if TYPE_CHECKING:
    from plait.core.recipe import Recipe, RecipeStage

OpenEngine = Callable[[], Any]


@dataclass(frozen=True)
class RunResult:
    """A finished run. ``reused`` names the stages that needed no work."""

    folder: RunFolder
    reused: list[str]
    seconds: float


def run_folder(recipe: Recipe, *, root: Path) -> RunFolder:
    """Where a recipe runs: the same resolved recipe always means the same folder, so running again resumes it."""
    return RunFolder(root / f"{recipe.name}-{hash_json(recipe.to_yaml())[:8]}")


def run(
    recipe: Recipe,
    *,
    folder: RunFolder,
    open_engine: OpenEngine,
    listeners: Sequence[Callable[[Event], None]] = (),
    fresh: bool = False,
) -> RunResult:
    """Run every stage of a recipe, reusing what is already done.

    Args:
        recipe: Loaded and checked.
        folder: Where it runs; may hold an earlier, unfinished run of the same recipe.
        open_engine: Called once, when the first stage has real work to do.
        listeners: Told every event as it happens.
        fresh: Do all the work again.

    Raises:
        PlaitError: A stage failed; the folder keeps everything that was finished.
    """
    started = time.monotonic()
    engine: Any = None
    reused: list[str] = []
    known: dict[Path, str] = {}
    stages = recipe.ordered()
    with folder.locked(), _failures_recorded(folder, recipe, listeners) as log:
        write_text(folder.recipe, recipe.to_yaml())
        write_json(folder.path / "env.json", describe_environment(seed=recipe.seed))
        log.write("run.start", recipe=recipe.name, stages=[s.name for s in stages], seed=recipe.seed)
        places = {s.name: folder.stage(n, s.name) for n, s in enumerate(stages, 1)}
        try:
            for spec in stages:
                place = places[spec.name]
                stage = _with_inputs(spec, recipe, places)
                key = _stage_key(spec, stage, seed=recipe.seed, known=known)
                done = None if fresh else _finished(place, key, log=log, root=folder.path.parent)
                if done is None:
                    engine = engine or open_engine()
                    done = _work(spec, stage, place, key=key, engine=engine, seed=recipe.seed, log=log)
                else:
                    reused.append(spec.name)
                    log.write("stage.reused", stage=spec.name, headline=folder.read_report(place).headline)
                known |= _output_hashes(stage, place, done)
                _show_quarantine(folder, place)
        finally:
            if engine is not None:
                engine.close()
        seconds = time.monotonic() - started
        log.write("run.done", seconds=round(seconds, 2), reused=reused)
        write_report(folder, recipe)
    return RunResult(folder, reused, seconds)


def _work(spec: RecipeStage, stage: Stage, place: Path, *, key: str, engine: Any, seed: int, log: EventLog) -> Done:
    """Run one stage in its partial folder and publish it."""
    partial = place.with_name(place.name + ".partial")
    key_file = partial / "key"
    if not key_file.exists() or key_file.read_text() != key:
        # Unfinished work of other settings must not leak into this stage.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_text(key_file, key)
    context = StageContext(
        folder=partial,
        seeds=Seeds(seed).child(spec.name),
        engine=engine,
        name=spec.name,
        outputs=type(stage).outputs,
        events=log,
    )
    log.write("stage.start", stage=spec.name, use=spec.use)
    started = time.monotonic()
    try:
        stage.run(context)
    except PlaitError as error:
        error.where = error.where or f"stage {spec.name}"
        raise
    missing = [name for name in type(stage).outputs if not context.output(name).exists()]
    if missing:
        raise StageFailed(
            f"the stage ended without writing its outputs {', '.join(missing)}",
            code="stage.missing-output",
            where=f"stage {spec.name}",
            hint=f"{spec.use} declares them; its run() must write {context.output(missing[0])}",
        )
    if context.quarantine.total:
        context.report.facts["quarantined records"] = context.quarantine.total
    write_json(partial / "report.json", context.report.model_dump(mode="json"))
    done = publish(partial, place, key=key)
    log.write(
        "stage.done",
        stage=spec.name,
        seconds=round(time.monotonic() - started, 2),
        headline=context.report.headline,
        quarantined=context.quarantine.counts or None,
    )
    gc.collect()  # a stage's model is large and often held by a reference cycle
    return done


def _finished(place: Path, key: str, *, log: EventLog, root: Path) -> Done | None:
    """The stage's result under this key, if it is here (complete and undamaged) or in a neighbouring run."""
    partial = place.with_name(place.name + ".partial")
    in_partial = read_done(partial)
    if in_partial is not None and in_partial.key == key:  # killed between the last write and the rename
        settle(partial, place)
    neighbours = [p for run in list_runs(root) for p in run.path.glob(f"stages/??-{place.name[3:]}")]
    for candidate in (place, *neighbours):
        done = read_done(candidate)
        if done is None or done.key != key:
            continue
        damaged = damaged_files(candidate, done)
        if damaged:
            log.write("warning", message=f"{candidate} was changed after it was finished ({damaged[0]}): not reused")
            continue
        if candidate != place:
            copy_stage(candidate, place)
        return done
    return None


def _stage_key(spec: RecipeStage, stage: Stage, *, seed: int, known: Mapping[Path, str]) -> str:
    """The hash that decides on reuse: settings, inputs by content, seed, code, and what the stage adds itself."""
    inputs: list[str] = []

    def note_content(path: Path) -> Path:
        inputs.append(known.get(path) or hash_path(path))
        return Path(path.name)

    settings = map_inputs(stage, note_content).model_dump(mode="json")
    return hash_json(
        {
            "use": spec.use,
            "stage": spec.name,
            "settings": settings,
            "inputs": inputs,
            "seed": seed,
            "code": hash_code(type(stage).__module__),
            "outside": dict(stage.fingerprint()),
        }
    )


def _output_hashes(stage: Stage, place: Path, done: Done) -> dict[Path, str]:
    """Content hash of each declared output, taken from ``done.json`` so that large files are read once."""
    hashes: dict[Path, str] = {}
    for name in type(stage).outputs.values():
        files = {n: h for n, h in done.files.items() if n == name or n.startswith(f"{name}/")}
        hashes[place / name] = hash_json(files)
    return hashes


def _with_inputs(spec: RecipeStage, recipe: Recipe, places: Mapping[str, Path]) -> Stage:
    """The stage with every ``${stage.output}`` replaced by the path it stands for."""
    components = {s.name: s.component for s in recipe.stages}

    def locate(path: Path) -> Path:
        reference = parse_reference(path)
        if reference is None:
            return path
        source, output = reference
        return places[source] / type(components[source]).outputs[output]

    return map_inputs(spec.component, locate)


def _show_quarantine(folder: RunFolder, place: Path) -> None:
    """Put the stage's bad records where a person looks for them."""
    source = place / "quarantine.jsonl"
    target = folder.path / "quarantine" / f"{place.name}.jsonl"
    target.unlink(missing_ok=True)
    if source.exists():
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(source, target)


@contextmanager
def _failures_recorded(
    folder: RunFolder, recipe: Recipe, listeners: Sequence[Callable[[Event], None]]
) -> Generator[EventLog]:
    """The one place where a run's failures become a line in the log and an error a person can act on."""
    log = EventLog(folder.events, list(listeners))
    try:
        yield log
    except KeyboardInterrupt:
        log.write("run.interrupted")
        raise
    except PlaitError as error:
        log.write("run.failed", error=str(error), code=error.code)
        write_report(folder, recipe)
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise _unexpected(error, folder, log) from error
        with suppress(OSError):  # the log is on the same full disk; the error itself is what matters
            log.write("run.failed", error=str(error), code="run.disk-full")
        raise RunError(
            f"the disk is full: {error}",
            code="run.disk-full",
            where=str(folder.path),
            hint=f"make space, then `plait resume {folder.path}`; finished stages are kept",
        ) from error
    except Exception as error:
        failed = _unexpected(error, folder, log)
        write_report(folder, recipe)
        raise failed from error


def _unexpected(error: Exception, folder: RunFolder, log: EventLog) -> StageFailed:
    """An error no one planned for: keep the traceback in a file, say in one line what and where."""
    trace = folder.path / "error.txt"
    trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    last = traceback.extract_tb(error.__traceback__)[-1]
    failed = StageFailed(
        f"{type(error).__name__}: {error}",
        code="stage.unexpected-error",
        where=f"{last.filename}:{last.lineno}",
        hint=f"the full traceback is in {trace}; mend the cause, then `plait resume {folder.path}`",
    )
    log.write("run.failed", error=str(failed), code=failed.code)
    return failed
