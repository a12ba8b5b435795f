"""The order of training: full batches, even coverage, similar lengths, and the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.align.batches import Batches
from plait.core.seeds import Seeds
from plait.errors import UsageError


@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 9),
    micro=st.integers(1, 9),
    steps=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_every_batch_is_full_and_coverage_is_even(count: int, batch: int, micro: int, steps: int, seed: int) -> None:
    if batch > count or batch % micro:
        with pytest.raises(UsageError):
            Batches([1] * count, batch_size=batch, steps=steps, seeds=Seeds(seed), micro_batch_size=micro)
        return
    lengths = [(i * 7) % 13 for i in range(count)]
    batches = Batches(lengths, batch_size=batch, steps=steps, seeds=Seeds(seed), micro_batch_size=micro)
    parts = list(batches)
    assert len(parts) == len(batches) == steps * (batch // micro)
    assert {len(part) for part in parts} == {micro}
    whole = list(batches.steps_in_order())
    assert [i for part in parts for i in part] == [i for step in whole for i in step]
    assert all(len(set(step)) == batch for step in whole)
    seen = Counter(i for step in whole for i in step)
    assert max(seen.values()) - min(seen[i] for i in range(count)) <= 2


def test_all_pairs_are_seen_before_any_is_seen_a_third_time() -> None:
    whole = list(Batches([1] * 10, batch_size=4, steps=5, seeds=Seeds(3)).steps_in_order())
    assert sorted(i for step in whole for i in step) == sorted(list(range(10)) * 2)


def test_similar_lengths_meet() -> None:
    lengths = [10, 500] * 32
    batches = Batches(lengths, batch_size=4, steps=16, seeds=Seeds(1))
    mixed = sum(len({lengths[i] for i in step}) > 1 for step in batches.steps_in_order())
    assert mixed <= 2  # at most one batch per window of eight
    sides = [lengths[step[0]] for step in batches.steps_in_order()]
    assert sides != sorted(sides)
    assert sides != sorted(sides, reverse=True)


def test_without_grouping_the_longest_pairs_are_spread() -> None:
    lengths = [100] * 8 + [1] * 24
    grouped, shuffled = (
        Batches(lengths, batch_size=4, steps=8, seeds=Seeds(1), group_by_length=group) for group in (True, False)
    )
    heaviest = [
        max(sum(lengths[i] for i in step) for step in batches.steps_in_order()) for batches in (grouped, shuffled)
    ]
    assert heaviest[0] == 400
    assert heaviest[1] < 400
    assert sorted(i for step in shuffled.steps_in_order() for i in step) == list(range(32))


def test_seeded() -> None:
    def order(seed: int) -> list[list[int]]:
        return list(Batches([1] * 20, batch_size=5, steps=8, seeds=Seeds(seed)))

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[:4] != order(1)[4:]  # another shuffle in the next epoch


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="only 3 examples"):
        Batches([1, 1, 1], batch_size=4, steps=1, seeds=Seeds(0))
    with pytest.raises(UsageError, match="does not divide"):
        Batches([1] * 9, batch_size=4, steps=1, seeds=Seeds(0), micro_batch_size=3)
