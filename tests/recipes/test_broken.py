"""Recipes that must be refused: each says in its first lines which problem, at which line, in which words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plait.core.recipe import load_recipe
from plait.errors import RecipeError

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
_EXPECT = re.compile(r"# expect: (?P<code>recipe\.[a-z0-9-]+) line (?P<line>\d+): (?P<words>.+)")


def expected(path: Path) -> list[tuple[str, str, str]]:
    """``(code, file:line, words)`` of each problem; two lines of one problem check two parts of its words."""
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    return [(m["code"], f"{path}:{m['line']}", m["words"]) for line in lines if (m := _EXPECT.fullmatch(line))]


def test_there_are_many():
    assert len(BROKEN) >= 20
    assert len({expected(path)[0][0] for path in BROKEN}) >= 15


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_it_is_refused_at_its_line_with_what_to_do(path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    problems = caught.value.problems
    wanted = expected(path)
    assert {(p.code, p.where) for p in problems} == {(code, where) for code, where, _ in wanted}
    for code, where, words in wanted:
        assert any(words in str(p) and (p.code, p.where) == (code, where) for p in problems), str(caught.value)
    assert all(problem.hint for problem in problems)


def test_the_command_refuses_with_one_line_per_problem_and_status_2():
    path = Path(__file__).parent / "broken" / "many-at-once.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "plait", "check", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "400"},
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for _, where, words in expected(path):
        assert any(where in line and words in line for line in done.stderr.splitlines()), done.stderr
