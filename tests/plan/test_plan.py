from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plait.plan.plan import Plan, SubTask


def plan(deps: dict[int, list[int]]) -> Plan:
    tasks = tuple(SubTask(id=i, task=f"task {i}", expert="e", dep=tuple(d)) for i, d in deps.items())
    return Plan(question="q", tasks=tasks)


def test_a_diamond() -> None:
    diamond = plan({1: [], 2: [1], 3: [1], 4: [2, 3]})
    assert diamond.cycle() == []
    assert diamond.levels() == [[1], [2, 3], [4]]
    assert diamond.unused() == []
    assert list(diamond.edges()) == [(1, 2), (1, 3), (2, 4), (3, 4)]


def test_circles_are_named() -> None:
    assert plan({1: [1]}).cycle() == [1]
    assert sorted(plan({1: [3], 2: [1], 3: [2], 4: [3]}).cycle()) == [1, 2, 3]


def test_unused_answers_and_unknown_needs() -> None:
    assert plan({1: [], 2: [], 3: [2]}).unused() == [1]
    assert plan({1: [9], 2: [1]}).levels() == [[1], [2]]
    assert list(plan({1: [9]}).edges()) == []


@given(st.dictionaries(st.integers(1, 8), st.lists(st.integers(1, 8), max_size=4), min_size=1, max_size=8))
def test_levels_respect_every_dependency_or_there_is_a_circle(deps: dict[int, list[int]]) -> None:
    made = plan(deps)
    circle = made.cycle()
    if circle:
        for needing, needed in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert needed in deps[needing]
        return
    place = {task: n for n, level in enumerate(made.levels()) for task in level}
    assert sorted(place) == sorted(deps)
    assert all(place[needed] < place[needing] for needed, needing in made.edges())
