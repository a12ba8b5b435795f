"""Runs: reuse, resume, failures. Every promise of the run folder is held against a real run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plait.core.folder import RunFolder, find_run, list_runs, read_done
from plait.core.hashing import hash_path
from plait.core.recipe import load_recipe
from plait.core.run import run, run_folder
from plait.errors import DataError, RunError, StageFailed, UsageError

RECIPE = """
name: toy
seed: 5
stages:
  - {name: write, use: "toy_stages:Write", lines: 6}
  - {name: count, use: "toy_stages:Count", text: "${write.text}"}
"""


class NoEngine:
    opened = 0

    def __init__(self):
        NoEngine.opened += 1

    def close(self):
        pass


def write_recipe(folder: Path, text: str = RECIPE, name: str = "toy.yaml") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / name
    path.write_text(text)
    return path


def go(path: Path, root: Path, *overrides: str, **options):
    recipe = load_recipe(path, overrides=overrides)
    return run(recipe, folder=run_folder(recipe, root=root), open_engine=NoEngine, **options)


def contents(folder: RunFolder) -> dict[str, str]:
    return {
        str(p.relative_to(folder.path)): hash_path(p)
        for p in sorted((folder.path / "stages").rglob("*"))
        if p.is_file()
    }


def kinds(folder: RunFolder) -> list[tuple[str, str]]:
    return [(e["kind"], e["stage"]) for e in folder.read_events() if e["kind"] in ("stage.done", "stage.reused")]


def test_second_run_reuses_every_stage_and_opens_no_engine(tmp_path):
    path = write_recipe(tmp_path)
    first = go(path, tmp_path / "runs")
    before, opened = contents(first.folder), NoEngine.opened
    second = go(path, tmp_path / "runs")
    assert second.folder.path == first.folder.path
    assert second.reused == ["write", "count"]
    assert NoEngine.opened == opened
    assert contents(second.folder) == before


def test_fresh_does_the_work_again_with_the_same_bytes(tmp_path):
    path = write_recipe(tmp_path)
    before = contents(go(path, tmp_path / "runs").folder)
    again = go(path, tmp_path / "runs", fresh=True)
    assert again.reused == []
    assert contents(again.folder) == before


def test_changed_setting_is_another_run_that_reuses_what_did_not_change(tmp_path):
    path = write_recipe(
        tmp_path, RECIPE + '  - {name: again, use: "toy_stages:Count", text: "${write.text}", max_bad_fraction: 0.5}\n'
    )
    first = go(path, tmp_path / "runs")
    second = go(path, tmp_path / "runs", "again.max_bad_fraction=0.25")
    assert second.folder.path != first.folder.path
    assert second.reused == ["write", "count"]
    assert read_done(second.folder.stage(1, "write")) == read_done(first.folder.stage(1, "write"))


def test_upstream_change_with_equal_output_does_not_spread(tmp_path):
    # kill_at is a setting that changes nothing in the output, so `count` sees the same bytes.
    path = write_recipe(tmp_path)
    go(path, tmp_path / "runs")
    second = go(path, tmp_path / "runs", "write.kill_at=-2")
    assert kinds(second.folder) == [("stage.done", "write"), ("stage.reused", "count")]


@pytest.mark.parametrize("override", ["write.lines=7", "seed=6", "write.shape.width=4"])
def test_anything_that_matters_reruns(tmp_path, override):
    path = write_recipe(tmp_path)
    go(path, tmp_path / "runs")
    assert "write" not in go(path, tmp_path / "runs", override).reused


def test_outside_facts_and_input_files_are_part_of_the_key(tmp_path, monkeypatch):
    text = (
        'name: toy\nstages:\n  - {name: see, use: "toy_stages:External"}\n'
        '  - {name: count, use: "toy_stages:Count", text: in.txt}\n'
    )
    path = write_recipe(tmp_path, text)
    (tmp_path / "in.txt").write_text("a\nb\n")
    monkeypatch.setenv("TOY_WEATHER", "rain")
    go(path, tmp_path / "runs")
    assert go(path, tmp_path / "runs").reused == ["see", "count"]
    monkeypatch.setenv("TOY_WEATHER", "sun")
    assert go(path, tmp_path / "runs").reused == ["count"]
    (tmp_path / "in.txt").write_text("a\nb\nc\n")
    result = go(path, tmp_path / "runs")
    assert result.reused == ["see"]
    assert (result.folder.stage(2, "count") / "count.txt").read_text() == "3"


def test_damaged_artifact_is_noticed_and_made_again(tmp_path):
    path = write_recipe(tmp_path)
    first = go(path, tmp_path / "runs")
    before = contents(first.folder)
    (first.folder.stage(1, "write") / "text.txt").write_text("tampered\n")
    again = go(path, tmp_path / "runs")
    assert again.reused == ["count"]
    assert contents(again.folder) == before
    assert any("changed after it was finished" in e.get("message", "") for e in again.folder.read_events())


def run_in_process(path: Path, root: Path, *overrides: str) -> subprocess.CompletedProcess:
    code = (
        "import sys; from pathlib import Path\n"
        "from plait.core.recipe import load_recipe; from plait.core.run import run, run_folder\n"
        "class E:\n  def close(self): pass\n"
        "r = load_recipe(sys.argv[1], overrides=sys.argv[3:])\n"
        "run(r, folder=run_folder(r, root=Path(sys.argv[2])), open_engine=E)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", code, str(path), str(root), *overrides], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("line", [0, 1, 5])
def test_killed_stage_resumes_to_the_same_bytes(tmp_path, line):
    path = write_recipe(tmp_path)
    unbroken = contents(go(path, tmp_path / "unbroken").folder)
    killed = run_in_process(path, tmp_path / "runs", f"write.kill_at={line}")
    assert killed.returncode == -signal.SIGKILL
    [folder] = list_runs(tmp_path / "runs")
    assert not folder.stage(1, "write").exists()
    resumed = run_in_process(path, tmp_path / "runs", f"write.kill_at={line}")
    assert resumed.returncode == 0, resumed.stderr
    assert {k: v for k, v in contents(folder).items() if "done.json" not in k} == {
        k: v for k, v in unbroken.items() if "done.json" not in k
    }


def test_killed_between_done_and_rename_is_published_not_repeated(tmp_path):
    path = write_recipe(tmp_path)
    first = go(path, tmp_path / "runs")
    place = first.folder.stage(1, "write")
    place.rename(place.with_name(place.name + ".partial"))
    assert go(path, tmp_path / "runs").reused == ["write", "count"]


def test_unfinished_work_of_other_settings_does_not_leak(tmp_path):
    path = write_recipe(tmp_path)
    recipe = load_recipe(path)
    folder = run_folder(recipe, root=tmp_path / "runs")
    partial = folder.stage(1, "write").with_name("01-write.partial")
    (partial / "chunks").mkdir(parents=True)
    (partial / "key").write_text("another key")
    (partial / "chunks" / "999").write_text("stale")
    result = run(recipe, folder=folder, open_engine=NoEngine)
    assert not (result.folder.stage(1, "write") / "chunks" / "999").exists()


def test_failure_names_file_and_line_keeps_finished_stages_and_the_traceback(tmp_path):
    path = write_recipe(tmp_path, RECIPE + '  - {name: fail, use: "toy_stages:Fail", needs: [count]}\n')
    with pytest.raises(StageFailed, match=r"toy_stages\.py:\d+: ValueError: seven is not eight") as caught:
        go(path, tmp_path / "runs")
    [folder] = list_runs(tmp_path / "runs")
    assert "plait resume" in str(caught.value)
    assert "ValueError" in (folder.path / "error.txt").read_text()
    assert read_done(folder.stage(2, "count")) is not None
    assert folder.read_events()[-1]["kind"] == "run.failed"
    assert "seven is not eight" in (folder.path / "report.md").read_text()


def test_stage_that_writes_no_output_fails(tmp_path):
    path = write_recipe(tmp_path, 'stages:\n  - {name: fail, use: "toy_stages:Fail", how: nothing}\n')
    with pytest.raises(StageFailed, match="without writing its outputs never"):
        go(path, tmp_path / "runs")


def test_interrupt_is_logged_and_raised(tmp_path):
    path = write_recipe(tmp_path, 'stages:\n  - {name: fail, use: "toy_stages:Fail", how: interrupt}\n')
    with pytest.raises(KeyboardInterrupt):
        go(path, tmp_path / "runs")
    [folder] = list_runs(tmp_path / "runs")
    assert folder.read_events()[-1]["kind"] == "run.interrupted"


def test_quarantine_is_counted_shown_and_limited(tmp_path):
    (tmp_path / "in.txt").write_text("a\nbad\nb\n")
    path = write_recipe(tmp_path, 'stages:\n  - {name: count, use: "toy_stages:Count", text: in.txt}\n')
    result = go(path, tmp_path / "runs")
    shown = (result.folder.path / "quarantine" / "01-count.jsonl").read_text()
    assert json.loads(shown) == {"where": "in.txt:2", "reason": "says bad", "record": "bad"}
    assert result.folder.read_report(result.folder.stage(1, "count")).facts["quarantined records"] == 1
    with pytest.raises(DataError, match=r"1 of 3 records are bad \(1 × says bad\)") as caught:
        go(path, tmp_path / "runs", "count.max_bad_fraction=0.1")
    assert caught.value.code == "data.too-many-bad"


def test_two_processes_cannot_work_in_one_folder(tmp_path):
    path = write_recipe(tmp_path)
    recipe = load_recipe(path)
    folder = run_folder(recipe, root=tmp_path / "runs")
    with folder.locked():
        other = run_in_process(path, tmp_path / "runs")
    assert "run.locked" in other.stderr
    assert other.returncode == 1


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small tmpfs needs root on Linux")
def test_full_disk_stops_clearly_and_resumes_after_space_is_made(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        path = write_recipe(tmp_path)
        with pytest.raises(RunError, match="the disk is full") as caught:
            go(path, disk / "runs", "write.fill_mb=4")
        assert caught.value.code == "run.disk-full"
        assert "plait resume" in str(caught.value)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        result = go(path, disk / "runs", "write.fill_mb=4")
        assert (result.folder.stage(2, "count") / "count.txt").read_text() == "6"
        unbroken = go(path, tmp_path / "runs", "write.fill_mb=4")
        assert contents(result.folder) == contents(unbroken.folder)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_find_run_by_folder_name_beginning_and_last(tmp_path):
    path = write_recipe(tmp_path)
    root = tmp_path / "runs"
    first = go(path, root).folder
    second = go(path, root, "seed=9").folder
    assert find_run(str(first.path), root=root) == first
    assert find_run(first.path.name, root=root) == first
    assert find_run(first.path.name[:-2], root=root) == first
    assert find_run("last", root=root) == second
    with pytest.raises(UsageError, match='several runs begin with "toy"'):
        find_run("toy", root=root)
    with pytest.raises(UsageError, match='no run is called "tyo"'):
        find_run("tyo", root=root)


def test_resolved_recipe_in_the_folder_runs_again_as_it_is(tmp_path):
    path = write_recipe(tmp_path)
    result = go(path, tmp_path / "runs", "write.lines=4")
    again = load_recipe(result.folder.recipe)
    assert run(again, folder=result.folder, open_engine=NoEngine).reused == ["write", "count"]
