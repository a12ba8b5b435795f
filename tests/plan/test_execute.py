from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from plait.errors import LimitReached, LLMError, StrandError, UsageError
from plait.plan.execute import TaskResult, execute
from plait.plan.experts import Answer
from plait.plan.plan import Plan, SubTask


@dataclass
class Meeting:
    """An expert whose tasks only end when as many as expected have begun: they must run together."""

    together: int = 1
    name: str = "meeting"
    description: str = "meets"
    needs_numbers: bool = False
    begun: list[int] = field(default_factory=list)
    given: dict[int, tuple[Answer, ...]] = field(default_factory=dict)
    everyone: asyncio.Event = field(default_factory=asyncio.Event)

    def refuses(self, task: SubTask) -> str | None:
        return None

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        self.begun.append(task.id)
        self.given[task.id] = needed
        if len(self.begun) >= self.together:
            self.everyone.set()
        await self.everyone.wait()
        if task.task == "fail":
            raise StrandError("nothing there", code="plan.not-found")
        if task.task == "broke":
            raise LLMError("server gone", code="llm.failed")
        if task.task == "spent":
            raise LimitReached("spent", code="llm.limit")
        if task.task == "empty":
            return Answer("  ")
        if task.task == "wrong":
            return Answer("it is 7", value="8")
        return Answer(f"answer {task.id}", value=str(task.id))


@dataclass
class Numeric(Meeting):
    needs_numbers: bool = True


def run(expert: Meeting, deps: dict[int, list[int]], tasks: dict[int, str] | None = None) -> list[TaskResult]:
    plan = Plan(
        question="q",
        tasks=tuple(
            SubTask(id=i, task=(tasks or {}).get(i, "ok"), expert=expert.name, dep=tuple(d)) for i, d in deps.items()
        ),
    )
    return asyncio.run(asyncio.wait_for(execute(plan, {expert.name: expert}), 10))


def test_what_is_ready_runs_at_the_same_time() -> None:
    # Would hang if any of the three ran after another had ended.
    results = run(Meeting(together=3), {1: [], 2: [], 3: [], 4: [1, 2, 3]})
    assert [r.status for r in results] == ["done"] * 4


def test_answers_arrive_in_the_order_of_dep_and_results_in_the_order_of_the_plan() -> None:
    expert = Meeting()
    results = run(expert, {4: [2, 1], 2: [1], 1: []})
    assert [r.task.id for r in results] == [4, 2, 1]
    assert expert.begun == [1, 2, 4]
    assert [a.value for a in expert.given[4]] == ["2", "1"]


@pytest.mark.parametrize("how", ["fail", "broke", "empty", "wrong"])
def test_a_failure_stays_where_it_is(how: str) -> None:
    expert = Meeting()
    results = run(expert, {1: [], 2: [1], 3: [2], 4: []}, {1: how})
    assert [r.status for r in results] == ["failed", "skipped", "skipped", "done"]
    assert [r.problem for r in results[1:3]] == ["it needs sub-task 1", "it needs sub-task 2"]
    assert results[0].problem
    assert expert.begun == [1, 4]


def test_a_spent_budget_stops_everything() -> None:
    with pytest.raises(LimitReached):
        run(Meeting(), {1: [], 2: []}, {1: "spent"})


def test_an_answer_that_is_no_number_does_not_reach_a_calculation() -> None:
    plan = Plan(
        question="q",
        tasks=(
            SubTask(id=1, task="ok", expert="text"),
            SubTask(id=2, task="ok", expert="sum", dep=(1,)),
        ),
    )

    class Text(Meeting):
        async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
            assert numeric
            return Answer("the mode is rb", value="rb")

    results = asyncio.run(execute(plan, {"text": Text(), "sum": Numeric()}))
    assert [r.status for r in results] == ["failed", "skipped"]
    assert "must be one number" in results[0].problem


@pytest.mark.parametrize(
    ("deps", "says"), [({1: [2], 2: [1]}, "circle"), ({1: [5]}, "depends on"), ({1: [1]}, "circle")]
)
def test_a_plan_that_cannot_run_is_refused(deps: dict[int, list[int]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(Meeting(), deps)
