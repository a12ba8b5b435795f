"""Carrying out a plan on the agents' runtime: what is ready runs at once, and a failure stays where it is.

Each sub-task is an actor whose one message depends on the messages of the sub-tasks it needs: the answers arrive as
arguments, and no code here decides when a sub-task may start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from plait.agents.mailbox import Result
from plait.agents.runtime import Runtime
from plait.errors import LimitReached, PlaitError, UsageError
from plait.plan.experts import Answer
from plait.plan.facts import as_number
from plait.plan.plan import Plan, SubTask

if TYPE_CHECKING:
    from plait.plan.experts import Expert


@dataclass(frozen=True)
class TaskResult:
    """What came of one sub-task.

    Args:
        task: The sub-task.
        status: ``done``, ``failed`` (the expert could not), or ``skipped`` (something it needs is missing).
        answer: The answer if done.
        problem: Why not, otherwise.
    """

    task: SubTask
    status: Literal["done", "failed", "skipped"]
    answer: Answer | None = None
    problem: str = ""


async def execute(
    plan: Plan,
    experts: Mapping[str, Expert],
    *,
    in_flight: int = 64,
    on_done: Callable[[TaskResult], None] | None = None,
) -> list[TaskResult]:
    """Carry out a plan that has no `plait.plan.detect` problems of its graph.

    Args:
        plan: What to do.
        experts: Name → expert.
        in_flight: Sub-tasks at work at the same time.
        on_done: Told of each result as it comes.

    Returns:
        One result per sub-task, in the plan's order.

    Raises:
        UsageError: The plan has a circle, or names what is not there.
        LimitReached: The model's budget is spent.
    """
    _check(plan, experts)
    numeric = {d for task in plan.tasks if experts[task.expert].needs_numbers for d in task.dep}
    results: dict[int, Result] = {}
    async with Runtime(in_flight=in_flight) as runtime:
        for level in plan.levels():
            for number in level:
                task = plan.by_id()[number]
                expert = experts[task.expert]
                worker = runtime.spawn(_Worker, task, expert, number in numeric, on_done, name=f"task-{number}")
                results[number] = worker.call("work", *(results[needed] for needed in task.dep))
        return [await results[task.id] for task in plan.tasks]


class _Worker:
    """An actor that lets an expert do one sub-task."""

    def __init__(
        self, task: SubTask, expert: Expert, numeric: bool, on_done: Callable[[TaskResult], None] | None
    ) -> None:
        self.task = task
        self.expert = expert
        self.numeric = numeric
        self.on_done = on_done

    async def work(self, *needed: TaskResult) -> TaskResult:
        result = await self._result(needed)
        if self.on_done is not None:
            self.on_done(result)
        return result

    async def _result(self, needed: tuple[TaskResult, ...]) -> TaskResult:
        missing = [str(result.task.id) for result in needed if result.answer is None]
        if missing:
            return TaskResult(self.task, "skipped", problem=f"it needs sub-task {', '.join(missing)}")
        try:
            given = [result.answer for result in needed if result.answer is not None]
            answer = await self.expert.answer(self.task, *given, numeric=self.numeric)
        except LimitReached:
            raise
        except PlaitError as error:
            return TaskResult(self.task, "failed", problem=error.message)
        problem = check_answer(answer, numeric=self.numeric)
        if problem is not None:
            return TaskResult(self.task, "failed", problem=problem)
        return TaskResult(self.task, "done", answer)


def check_answer(answer: Answer, *, numeric: bool = False) -> str | None:
    r"""What is wrong with an answer before others build on it; ``None`` if nothing.

    Example:
        >>> check_answer(Answer(text="  ")), check_answer(Answer(text="it is 70", value="71"))
        ('the answer is empty', 'the answer\'s value "71" is not in its text')
    """
    if not answer.text.strip():
        return "the answer is empty"
    if numeric and as_number(answer.value) is None:
        return f"the answer must be one number to compute with, and is {answer.value or answer.text!r}"
    if answer.value and answer.value not in answer.text.replace(",", ""):
        return f'the answer\'s value "{answer.value}" is not in its text'
    return None


def _check(plan: Plan, experts: Mapping[str, Expert]) -> None:
    known = plan.by_id()
    problem = None
    if len(known) < len(plan.tasks):
        problem = "two sub-tasks have one id"
    elif plan.cycle():
        problem = f"sub-tasks {plan.cycle()} wait for each other in a circle"
    for task in plan.tasks:
        if task.expert not in experts:
            problem = f'sub-task {task.id} is given to "{task.expert}", whom nobody knows'
        missing = [needed for needed in task.dep if needed not in known]
        if missing:
            problem = f"sub-task {task.id} depends on {missing}, which do not exist"
    if problem:
        raise UsageError(f"the plan cannot be carried out: {problem}", code="plan.not-executable")
