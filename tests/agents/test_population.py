from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plait.agents import Population, Quota, Share
from plait.agents.population import apportion, tally
from plait.core.seeds import Seeds

JOINT = Quota(
    attributes=("job", "school"),
    shares=(
        Share(values=("baker", "primary"), share=0.5),
        Share(values=("baker", "college"), share=0.125),
        Share(values=("judge", "college"), share=0.375),
    ),
)
AGE = Quota(attributes=("age",), shares=(Share(values=("young",), share=0.25), Share(values=("old",), share=0.75)))


def test_largest_remainders_by_hand() -> None:
    # 7 × (.5, .3, .2) = 3.5, 2.1, 1.4: down to 3, 2, 1; the one left goes to the largest remainder, .5.
    assert apportion([0.5, 0.3, 0.2], 7) == [4, 2, 1]
    # 10 × 1/3: three remainders of 1/3, the first listed gets the tenth.
    assert apportion([1 / 3, 1 / 3, 1 / 3], 10) == [4, 3, 3]
    # 0.1 × 30 = 3.0000000000000004 and 0.7 × 30 = 21 in floating point: no remainder at all.
    assert apportion([0.1, 0.2, 0.7], 30) == [3, 6, 21]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 5000))
def test_apportion_adds_up_and_stays_within_one_of_exact_proportion(weights: list[int], size: int) -> None:
    total = sum(weights)
    counts = apportion([w / total for w in weights], size)
    assert sum(counts) == size
    for weight, count in zip(weights, counts, strict=True):
        exact = Fraction(weight * size, total)
        assert abs(count - exact) < 1
        if exact.denominator == 1:
            assert count == exact


def test_joint_attributes_appear_exactly_as_often_as_the_quota_says() -> None:
    people = Population(size=48, quotas=(JOINT, AGE), template="{age} {job}").draw(Seeds(3))
    assert tally(people, "job", "school") == {
        ("baker", "primary"): 24,
        ("baker", "college"): 6,
        ("judge", "college"): 18,
    }
    assert tally(people, "age") == {("young",): 12, ("old",): 36}
    assert all(p.text == f"{p.attributes['age']} {p.attributes['job']}" for p in people)
    assert [p.id for p in people] == [f"agent-{i:02d}" for i in range(48)]


def test_two_quotas_are_dealt_independently() -> None:
    # Dealt in the same order, every young person (the first quarter) would be a baker with primary school.
    people = Population(size=4000, quotas=(JOINT, AGE), template="").draw(Seeds(3))
    both = tally(people, "job", "age")["judge", "young"]
    assert both == pytest.approx(4000 * 0.375 * 0.25, rel=0.15)


def test_the_draw_depends_on_the_seed_alone() -> None:
    population = Population(size=40, quotas=(JOINT, AGE), template="")
    assert population.draw(Seeds(3)) == population.draw(Seeds(3))
    assert population.draw(Seeds(3)) != population.draw(Seeds(4))
    # Adding a quota does not deal the others anew.
    alone = Population(size=40, quotas=(AGE,), template="").draw(Seeds(3))
    assert [p.attributes["age"] for p in alone] == [p.attributes["age"] for p in population.draw(Seeds(3))]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (
            {"quotas": [{"attributes": ["a"], "shares": [{"values": ["x"], "share": 0.9}]}]},
            "add up to 0.9, not 1",
        ),
        (
            {"quotas": [{"attributes": ["a", "b"], "shares": [{"values": ["x"], "share": 1}]}]},
            "one value for each",
        ),
        (
            {"quotas": [{"attributes": ["a"], "shares": [{"values": ["x"], "share": 0.5}] * 2}]},
            "listed twice",
        ),
        ({"quotas": [AGE, AGE]}, "given by two quotas"),
        ({"quotas": [AGE], "template": "You are {job}."}, 'mentions "job"'),
    ],
)
def test_quotas_that_do_not_fit_are_refused(broken: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Population.model_validate({"size": 4, "template": ""} | broken)
