"""The quickstart, small, as a person runs it: unbroken, killed in every stage, twice, and on Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plait.core.folder import RunFolder, read_done
from plait.core.recipe import load_recipe

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(1500)]

SMALL = (
    "pairs.train=12",
    "pairs.heldout=8",
    "align.steps=4",
    "align.measure=8",
    "align.checkpoint_every=1",
    "federate.rounds=1",
    "federate.steps=2",
    "federate.sequence_length=64",
    "federate.heldout_blocks=2",
    "simulate.agents=8",
    "simulate.rounds=2",
)
STAGES = ("curate", "pairs", "align", "federate", "simulate", "plan")
TRAINED = ("align", "federate")
"""Stages that train: equal runs agree within a tolerance rather than to the byte."""


def command(root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "plait", "run", "quickstart", *SMALL, "--runs", str(root), *more]


def environment() -> dict[str, str]:
    return os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def finish(root: Path, *more: str) -> tuple[RunFolder, dict]:
    done = subprocess.run(command(root, "--json", *more), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    shown = json.loads(done.stdout)
    return RunFolder(Path(shown["folder"])), shown


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> RunFolder:
    folder, shown = finish(tmp_path_factory.mktemp("unbroken"))
    assert shown["reused"] == []
    return folder


def test_six_stages_report_real_numbers(unbroken):
    recipe = load_recipe(unbroken.recipe)
    assert tuple(s.name for s in recipe.ordered()) == STAGES
    for number, stage in enumerate(recipe.ordered(), 1):
        report = unbroken.read_report(unbroken.stage(number, stage.name))
        assert any(character.isdigit() for character in report.headline), stage.name
        assert report.facts
        assert report.figures, stage.name
    html = (unbroken.path / "report.html").read_text()
    for command_line in recipe.next:
        assert command_line in html


def test_no_report_holds_a_path_of_this_machine(unbroken):
    for report in unbroken.path.glob("stages/*/report.json"):
        assert str(unbroken.path) not in report.read_text()
        assert str(Path.home()) not in report.read_text()


def test_second_run_reuses_everything_in_seconds(unbroken):
    started = time.monotonic()
    folder, shown = finish(unbroken.path.parent)
    assert folder.path == unbroken.path
    assert shown["reused"] == list(STAGES)
    assert time.monotonic() - started < 30


def has_begun(folder: RunFolder, stage: str) -> bool:
    """The stage has started and shown progress, so there is unfinished work to lose."""
    if not folder.events.exists():
        return False
    return any(e["kind"] == "progress" and e["stage"] == stage for e in folder.read_events())


def test_killed_in_every_stage_it_finishes_with_the_same_artifacts(unbroken, tmp_path):
    for stage in STAGES:
        process = subprocess.Popen(
            command(tmp_path), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        folder = None
        while process.poll() is None:
            folder = next((RunFolder(p.parent) for p in tmp_path.glob("*/events.jsonl")), None)
            if folder is not None and has_begun(folder, stage):
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.02)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"the run ended before {stage} could be killed"
    folder, _ = finish(tmp_path)
    for number, stage in enumerate(STAGES, 1):
        ours, theirs = read_done(folder.stage(number, stage)), read_done(unbroken.stage(number, stage))
        assert ours is not None
        assert theirs is not None
        assert set(ours.files) == set(theirs.files)
        if stage in TRAINED:
            close_to(folder.stage(number, stage), unbroken.stage(number, stage))
        else:
            assert ours.files == theirs.files, stage


def close_to(ours: Path, theirs: Path) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    for path in ours.rglob("*.safetensors"):
        left, right = load_file(path), load_file(theirs / path.relative_to(ours))
        for name, value in left.items():
            np.testing.assert_allclose(value, right[name], atol=2e-4, err_msg=name)


@pytest.mark.ray
def test_ray_gives_the_same_records_and_pairs(unbroken, tmp_path):
    folder, _ = finish(tmp_path, "--engine", "ray")
    for number, stage in ((1, "curate"), (2, "pairs")):
        ours, theirs = read_done(folder.stage(number, stage)), read_done(unbroken.stage(number, stage))
        assert ours is not None
        assert theirs is not None
        assert ours.files == theirs.files
