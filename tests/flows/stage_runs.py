"""Stages run in a folder, and killed there: for tests, and the program that is killed.

python stage_runs.py MODULE:CLASS SETTINGS FOLDER STEP SEED
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from plait.core.catalog import load
from plait.core.events import Event
from plait.core.seeds import Seeds
from plait.core.stage import Stage, StageContext


def run(made: Stage, folder: Path, seed: int = 7) -> StageContext:
    """Run a stage in a folder, from what a run before has left in it."""
    context = _context(made, folder, seed=seed)
    made.run(context)
    return context


def run_and_kill(made: Stage, folder: Path, *, at_step: int, seed: int = 7) -> list[str]:
    """Run a stage in a process that kills itself once it has told of a training step.

    Returns:
        The checkpoints that are left.
    """
    kind = f"{type(made).__module__}:{type(made).__name__}"
    settings = [kind, made.model_dump_json(), str(folder), str(at_step), str(seed)]
    command = [sys.executable, "-W", "ignore", __file__, *settings]
    killed = subprocess.run(command, env=os.environ, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not any((folder / output).exists() for output in made.outputs.values())
    return [path.name for path in (folder / "scratch" / "checkpoints").glob("*")]


def steps_told(context: StageContext) -> list[int]:
    """The training steps that a run told of."""
    return [e["done"] for e in context.events.memory if e["kind"] == "progress" and e["what"] == "steps"]


def _context(made: Stage, folder: Path, *, seed: int) -> StageContext:
    return StageContext(folder=folder, seeds=Seeds(seed), engine=None, outputs=made.outputs)


def _main(kind: str, settings: str, folder: str, at_step: str, seed: str) -> None:
    import torch

    torch.set_num_threads(1)
    stage = load(kind)
    assert isinstance(stage, type)
    assert issubclass(stage, Stage)
    made = stage.model_validate_json(settings)
    context = _context(made, Path(folder), seed=int(seed))

    def die(event: Event) -> None:
        if event["kind"] == "progress" and event["what"] == "steps" and event["done"] == int(at_step):
            os.kill(os.getpid(), signal.SIGKILL)

    context.events.listeners.append(die)
    made.run(context)


if __name__ == "__main__":
    _main(*sys.argv[1:])
