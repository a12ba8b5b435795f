"""Compiled loops: whoever waits for them is told."""

from __future__ import annotations

from numba import njit

from plait.data.utf8 import compiling


def test_the_first_loop_that_must_be_compiled_is_told_and_no_other() -> None:
    told = list[str]()
    first, second = njit(lambda x: x + 1), njit(lambda x: x + 2)
    with compiling(lambda: told.append("now")):
        assert first(1) + second(1) == 5
    assert told == ["now"]
    with compiling(lambda: told.append("again")):
        assert first(1) + second(1) == 5
    assert told == ["now"]
