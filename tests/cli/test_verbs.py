"""The command line, as a person and a program use it: each verb in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RECIPE = """# Writes and counts.
name: toy
seed: 5
next: [plait ls]
stages:
  - {name: write, use: "toy_stages:Write", lines: 6}
  - {name: count, use: "toy_stages:Count", text: "${write.text}"}
"""


@pytest.fixture
def plait(tmp_path):
    def call(*arguments: str, ok: int = 0, stdin: str | None = None) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "100"}
        result = subprocess.run(
            [sys.executable, "-m", "plait", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
        )
        assert result.returncode == ok, result.stdout + result.stderr
        return result

    (tmp_path / "toy.yaml").write_text(RECIPE)
    return call


def test_plait_alone_fits_one_screen_and_names_every_verb(plait):
    shown = plait(ok=2)
    text = shown.stdout + shown.stderr
    assert len(text.splitlines()) <= 50
    for verb in [
        "run",
        "check",
        "ls",
        "show",
        "new",
        "watch",
        "resume",
        "diff",
        "rm",
        "models",
        "doctor",
        "schema",
        "llm",
    ]:
        assert f" {verb} " in text


@pytest.mark.parametrize(
    "verb", [(v,) for v in ["run", "check", "ls", "show", "new", "watch", "resume", "diff", "rm", "doctor", "schema"]]
    + [("models", "ls"), ("models", "get"), ("llm", "serve")]
)  # fmt: skip
def test_every_help_ends_with_examples(plait, verb):
    text = plait(*verb, "--help").stdout
    assert "Examples" in text
    assert "plait " + " ".join(verb) in text.split("Examples")[1]


def test_version(plait):
    assert plait("--version").stdout.startswith("plait ")


def test_run_twice_reuses_and_tells_programs(plait, tmp_path):
    first = plait("run", "toy.yaml")
    assert "2 stages finished" in first.stdout
    assert "Next:   plait ls" in first.stdout
    second = json.loads(plait("run", "toy.yaml", "--json").stdout)
    assert second["reused"] == ["write", "count"]
    assert second["stages"]["count"]["headline"] == "6 lines"
    assert (tmp_path / second["folder"] / "report.html").exists()


def test_check_reports_every_problem_and_leaves_nothing_behind(plait, tmp_path):
    (tmp_path / "bad.yaml").write_text(RECIPE.replace("lines: 6", "lnes: 6").replace("write.text", "write.txt"))
    shown = plait("check", "bad.yaml", ok=2)
    [first, *_] = shown.stderr.splitlines()
    assert first.startswith('error: bad.yaml:6: unknown key "lnes" in stage write (toy_stages:Write)')
    assert first.endswith('did you mean "lines"? [recipe.unknown-key]')
    plait("run", "bad.yaml", ok=2)
    assert not (tmp_path / "runs").exists()
    problems = json.loads(plait("check", "bad.yaml", "--json", ok=2).stdout)
    assert problems["problems"][0]["where"] == "bad.yaml:6"
    assert json.loads(plait("check", "toy.yaml", "--json").stdout)["stages"] == ["write", "count"]


def test_wrong_engine_stops_before_any_work(plait, tmp_path):
    assert "lokal" in plait("run", "toy.yaml", "--engine", "lokal", ok=2).stderr
    assert not (tmp_path / "runs").exists()


def test_new_copies_a_shipped_recipe_and_never_overwrites(plait, tmp_path):
    plait("new", "quickstart", "mine.yaml")
    assert "data.curate" in (tmp_path / "mine.yaml").read_text()
    assert "exists already" in plait("new", "quickstart", "mine.yaml", ok=2).stderr
    assert 'did you mean "quickstart"' in plait("new", "quikstart", ok=2).stderr


def test_ls_and_show(plait):
    plait("run", "toy.yaml")
    rows = json.loads(plait("ls", "--json").stdout)
    assert {"stage", "engine", "llm", "model", "recipe", "run"} <= {row["kind"] for row in rows}
    assert "done, 2 of 2 stages" in plait("ls", "run").stdout
    assert 'did you mean "stage"' in plait("ls", "stge", ok=2).stderr
    shown = plait("show", "toy_stages:Write").stdout
    assert "How many lines." in shown
    assert "${stage.text}" in shown
    assert "properties" in json.loads(plait("show", "toy_stages:Write", "--json").stdout)["settings"]
    assert 'did you mean "data.curate"' in plait("show", "data.curat", ok=2).stderr


def test_watch_diff_rm(plait, tmp_path):
    plait("run", "toy.yaml")
    plait("run", "toy.yaml", "write.lines=7")
    names = sorted(p.name for p in (tmp_path / "runs").iterdir())
    assert "count: done" in plait("watch", names[0]).stdout + plait("watch", names[0]).stderr
    assert json.loads(plait("watch", "last", "--json").stdout)["state"] == "done"
    rows = json.loads(plait("diff", *names, "--json").stdout)
    assert {"what": "setting", "name": "stage write.lines"} in [{k: r[k] for k in ("what", "name")} for r in rows]
    assert any(r["what"] == "result" and r["name"] == "write: lines" for r in rows)
    assert "no difference" in plait("diff", names[0], names[0]).stdout
    plait("rm", names[0], stdin="n\n", ok=1)
    assert (tmp_path / "runs" / names[0]).exists()
    plait("rm", names[0], "--yes")
    assert not (tmp_path / "runs" / names[0]).exists()


def test_killed_run_is_resumed_by_name(plait, tmp_path):
    plait("run", "toy.yaml", "write.kill_at=3", ok=-signal.SIGKILL)
    assert json.loads(plait("watch", "last", "--json").stdout)["stages"]["write"]["state"] == "running"
    assert "2 stages finished" in plait("resume", "last").stdout


def test_failed_run_says_what_where_and_what_to_do(plait, tmp_path):
    (tmp_path / "fail.yaml").write_text('stages:\n  - {name: fail, use: "toy_stages:Fail"}\n')
    error = plait("run", "fail.yaml", ok=1).stderr
    assert "toy_stages.py:" in error
    assert "plait resume" in error
    assert "Traceback" not in error
    assert plait("watch", "last", ok=1).stdout.startswith("fail-")


def test_interrupt_leaves_a_resumable_run(tmp_path):
    (tmp_path / "toy.yaml").write_text(RECIPE.replace("lines: 6", "lines: 100000"))
    process = subprocess.Popen(
        [sys.executable, "-m", "plait", "run", "toy.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list((tmp_path / "runs").glob("*/stages/*.partial/chunks/*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "plait resume runs/toy-" in error


def test_doctor_and_schema(plait):
    findings = json.loads(plait("doctor", "--json").stdout)
    assert {"Python", "memory", "disk"} <= {f["what"] for f in findings}
    assert json.loads(plait("schema").stdout)["title"] == "Plait recipe"
