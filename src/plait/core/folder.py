"""The run folder: what is where, and the few ways it may change.

    runs/quickstart-3f2a91c4/
      recipe.yaml       resolved; `plait run` takes it as it is
      env.json          versions, hardware, seed
      events.jsonl      everything that happened, in order
      stages/01-curate/ outputs, report.json, done.json (content hashes)
      quarantine/       bad records per stage, with reasons
      report.md report.html

A stage works in ``stages/01-curate.partial`` and appears as ``stages/01-curate`` by one rename, after its files and its
``done.json`` are on disk. Whatever has no ``done.json`` is unfinished work.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait.core.events import Event, read_events
from plait.core.figures import StageReport
from plait.core.hashing import files_below, hash_path
from plait.errors import RunError, UsageError, nearest


@dataclass(frozen=True)
class Done:
    """What ``done.json`` says: the key the stage ran under and the SHA-256 of each of its files."""

    key: str
    files: dict[str, str]


@dataclass(frozen=True)
class RunFolder:
    """A run on disk. Making one touches nothing."""

    path: Path

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    def stage(self, number: int, name: str) -> Path:
        """Where stage ``number`` (from 1) is published."""
        return self.path / "stages" / f"{number:02d}-{name}"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the folder for one process; the lock dies with its holder.

        Raises:
            RunError: Another process is running in this folder.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                "another process is working in this run folder",
                code="run.locked",
                where=str(self.path),
                hint=f"follow it with `plait watch {self.path}`, or wait until it ends",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def read_events(self) -> list[Event]:
        """All events so far; empty for a run that has not started."""
        return list(read_events(self.events)) if self.events.exists() else []

    def read_report(self, stage: Path) -> StageReport:
        """The report of a published stage."""
        return StageReport.model_validate_json((stage / "report.json").read_bytes())


def read_done(stage: Path) -> Done | None:
    """The stage's ``done.json``, or ``None`` while it is unfinished."""
    path = stage / "done.json"
    if not path.exists():
        return None
    facts = json.loads(path.read_bytes())
    return Done(key=facts["key"], files=facts["files"])


def damaged_files(stage: Path, done: Done) -> list[str]:
    """Files of a finished stage that are missing or no longer hold what was written."""
    return [n for n, digest in done.files.items() if not (stage / n).is_file() or hash_path(stage / n) != digest]


def publish(partial: Path, stage: Path, *, key: str) -> Done:
    """Make a finished partial folder the stage: hash, write ``done.json``, sync, rename.

    Returns:
        What was written to ``done.json``.
    """
    shutil.rmtree(partial / "scratch", ignore_errors=True)
    (partial / "key").unlink(missing_ok=True)
    (partial / "done.json").unlink(missing_ok=True)
    done = Done(key=key, files={str(p.relative_to(partial)): hash_path(p) for p in files_below(partial)})
    for path in files_below(partial):
        _sync(path)
    write_json(partial / "done.json", {"key": done.key, "files": done.files})
    settle(partial, stage)
    return done


def settle(partial: Path, stage: Path) -> None:
    """Put a complete partial folder in the stage's place, replacing an older result."""
    if stage.exists():
        old = stage.with_name(stage.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        stage.rename(old)
        partial.rename(stage)
        shutil.rmtree(old)
    else:
        partial.rename(stage)
    _sync(stage.parent)


def copy_stage(source: Path, stage: Path) -> None:
    """Bring a finished stage over from another run; files are linked where the disk allows, since they never change."""
    partial = stage.with_name(stage.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link_or_copy)
    settle(partial, stage)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new one, also after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def find_run(name: str, *, root: Path) -> RunFolder:
    """The run a person means: a folder, a name or unique beginning of one below ``root``, or ``last``.

    Raises:
        UsageError: No run, or more than one, answers to that.
    """
    if (Path(name) / "events.jsonl").exists():
        return RunFolder(Path(name))
    runs = list_runs(root)
    if name == "last" and runs:
        return runs[-1]
    matches = [run for run in runs if run.path.name.startswith(name)]
    exact = [run for run in matches if run.path.name == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    names = [run.path.name for run in (matches or runs)]
    raise UsageError(
        f'{"several runs begin with" if matches else "no run is called"} "{name}"',
        code="run.unknown",
        where=str(root),
        hint=f"one of: {', '.join(names)}" if matches else nearest(name, names),
    )


def list_runs(root: Path) -> list[RunFolder]:
    """Every run below ``root``, oldest activity first."""
    logs = sorted(root.glob("*/events.jsonl"), key=lambda p: (p.stat().st_mtime_ns, p))
    return [RunFolder(p.parent) for p in logs]


def _link_or_copy(source: str, target: str) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
