"""Eight bytes at a time: marks are what a look at every byte says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.loops import compiled
from plait.data.swar import below, eight, equal, first, put_eight


@compiled
def _marks(data: np.ndarray, i: int, byte: int) -> Any:
    x = eight(data, i)
    return below(x, byte), equal(x, byte), first(below(x, byte)), first(equal(x, byte))


@compiled
def _copied(data: np.ndarray, i: int, room: np.ndarray, at: int) -> None:
    put_eight(room, at, eight(data, i))


def _as_marks(found: list[bool]) -> int:
    return sum(0x80 << 8 * k for k, one in enumerate(found) if one)


@settings(deadline=None)  # the first call compiles
@given(st.binary(min_size=8, max_size=24), st.data())
def test_marks(raw, data):
    at = data.draw(st.integers(0, len(raw) - 8))
    some = raw[at : at + 8]
    near = [b + d for b in some for d in (0, 1) if 1 <= b + d <= 0x7F]
    byte = data.draw(st.sampled_from(near) if near else st.integers(1, 0x7F))
    less, same = [b < byte for b in some], [b == byte for b in some]
    wanted = (_as_marks(less), _as_marks(same), [*less, True].index(True), [*same, True].index(True))
    assert tuple(map(int, _marks(np.frombuffer(raw, np.uint8), at, byte))) == wanted


@pytest.mark.parametrize("at", range(9))
def test_eight_bytes_are_put_where_they_belong(at):
    room = np.zeros(16, np.uint8)
    _copied(np.arange(1, 17, dtype=np.uint8), 3, room, at)
    assert room.tolist() == [*[0] * at, *range(4, 12), *[0] * (8 - at)]
