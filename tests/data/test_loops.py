"""Compiled loops: whoever waits for them is told, and none outlives the code it was made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from numba import njit
from numba.core import config

from plait.data.loops import compiled, compiling


def test_the_first_loop_that_must_be_compiled_is_told_and_no_other() -> None:
    told = list[str]()
    first, second = njit(lambda x: x + 1), njit(lambda x: x + 2)
    with compiling(lambda: told.append("now")):
        assert first(1) + second(1) == 5
    assert told == ["now"]
    with compiling(lambda: told.append("again")):
        assert first(1) + second(1) == 5
    assert told == ["now"]


HELPER = """
from plait.data.loops import inlined

FACTOR = {factor}


@inlined
def scaled(x):
    return FACTOR * x
"""
LOOP = """
from plait.data.loops import compiled, compiling
from loops_of_test.helper import scaled


@compiled
def total(n):
    out = 0
    for i in range(n):
        out += scaled(i)
    return out


told = []
with compiling(lambda: told.append("compiled")):
    print(total(4), *told)
"""


def ran(folder: Path) -> str:
    code = "import loops_of_test.loop"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_loop_is_found_again_until_a_module_it_calls_changes(tmp_path: Path) -> None:
    package = tmp_path / "loops_of_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "loop.py").write_text(LOOP)
    (package / "helper.py").write_text(HELPER.format(factor=10))
    assert ran(tmp_path) == "60 compiled"
    assert ran(tmp_path) == "60"
    (package / "helper.py").write_text(HELPER.format(factor=20))
    assert ran(tmp_path) == "120 compiled"


def test_the_places_of_other_loops_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_LOCATOR_CLASSES", "InTreeCacheLocator")
    compiled(lambda x: x)
    assert config.CACHE_LOCATOR_CLASSES == "InTreeCacheLocator"


def test_linear_algebra_is_there_for_those_who_use_it() -> None:
    code = """
import sys
import plait.data.kernels
assert "scipy.linalg" not in sys.modules, "a tenth of a second at every start"
import numba, numpy
print(numba.njit(lambda a, b: a @ b)(numpy.eye(2), numpy.full((2, 2), 3.0)).sum(), "scipy.linalg" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12.0 True"
