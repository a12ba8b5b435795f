"""Sixty-four bytes at a time: bits are what a look at every byte says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.bits import among, end_of, lowest, ones, past
from plait.data.loops import compiled


@compiled
def _found(data: np.ndarray, i: int, low: int, high: int) -> Any:
    bits = among(data, i, low, high)
    return bits, lowest(bits), end_of(bits), ones(bits)


@compiled
def _past(stop: int, i: int) -> Any:
    return past(stop, i)


@settings(deadline=None, max_examples=300)  # the first call compiles
@given(st.binary(min_size=1, max_size=200), st.data())
def test_bits(raw, data):
    at = data.draw(st.integers(0, len(raw)))
    low, high = sorted(data.draw(st.tuples(*[st.sampled_from([*raw, 0, 127, 128, 255])] * 2)))
    places = [k for k, b in enumerate(raw[at : at + 64]) if low <= b <= high]
    bits, first, end, count = map(int, _found(np.frombuffer(raw, np.uint8), at, low, high))
    assert bits == sum(1 << k for k in places)
    assert (first, end, count) == ((places[0], places[-1] + 1, len(places)) if places else (64, 0, 0))


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_what_is_past_the_end(count):
    assert int(_past(7 + count, 7)) == sum(1 << k for k in range(64) if k >= count)
