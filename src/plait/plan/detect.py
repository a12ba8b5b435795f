"""What is wrong with a plan, found without a model: each problem as an exact reason that can be fed back.

The three principles of agent-oriented planning, as far as they can be proved: *solvability* (each sub-task suits one
expert), *completeness* (the question's numbers and names survive), *non-redundancy* (nothing twice, nothing unused).

Source: arXiv 2410.02189, section 3.2, where a language model judges all of this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from plait.plan.arithmetic import shown
from plait.plan.facts import mentions, names, number_words, numbers, without_references, words
from plait.plan.plan import Plan

if TYPE_CHECKING:
    from plait.plan.experts import Expert

SAME_TASK = 0.8
"""Jaccard similarity of two sub-tasks' words from which they count as the same."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a plan.

    Args:
        kind: ``empty``, ``duplicate-id``, ``unknown-expert``, ``missing-dependency``, ``cycle``, ``unused``,
            ``missing-number``, ``missing-name``, ``invented-number``, ``invented-name``, ``duplicate`` or
            ``unsolvable``.
        tasks: The sub-tasks concerned.
        reason: A sentence that says what to change.
    """

    kind: str
    tasks: tuple[int, ...]
    reason: str


def detect(plan: Plan, experts: Mapping[str, Expert]) -> list[Problem]:
    """All problems of a plan; none means it may be executed.

    Args:
        plan: What the planner made.
        experts: Name → expert.
    """
    if not plan.tasks:
        return [Problem("empty", (), "The plan has no sub-task.")]
    return [
        *_graph(plan),
        *_solvability(plan, experts),
        *_completeness(plan),
        *_redundancy(plan),
    ]


def _graph(plan: Plan) -> Iterator[Problem]:
    known = plan.by_id()
    seen: set[int] = set()
    for task in plan.tasks:
        if task.id in seen:
            yield Problem("duplicate-id", (task.id,), f"Two sub-tasks have the id {task.id}; number them 1, 2, 3.")
        seen.add(task.id)
        for needed in task.dep:
            if needed not in known:
                yield Problem(
                    "missing-dependency", (task.id,), f"Sub-task {task.id} depends on {needed}, which does not exist."
                )
    cycle = plan.cycle()
    if cycle:
        shown = " → ".join(map(str, [*cycle, cycle[0]]))
        yield Problem("cycle", tuple(cycle), f"Sub-tasks wait for each other in a circle: {shown}.")
    else:
        for unused in plan.unused():
            yield Problem(
                "unused",
                (unused,),
                f"The answer of sub-task {unused} is used by no other; add {unused} to the dep of the one that "
                "needs it, or leave it out.",
            )


def _solvability(plan: Plan, experts: Mapping[str, Expert]) -> Iterator[Problem]:
    for task in plan.tasks:
        expert = experts.get(task.expert)
        if expert is None:
            reason = f'Sub-task {task.id} is given to "{task.expert}"; the experts are {", ".join(experts)}.'
            yield Problem("unknown-expert", (task.id,), reason)
            continue
        refusal = expert.refuses(task)
        if refusal is not None:
            yield Problem("unsolvable", (task.id,), f"Sub-task {task.id} does not suit {task.expert}: {refusal}.")


def _completeness(plan: Plan) -> Iterator[Problem]:
    """Facts of the question that no sub-task has, and facts of sub-tasks that the question does not have."""
    together = " \n ".join(task.task for task in plan.tasks)
    given = numbers(plan.question)
    written = {*numbers(together), *number_words(together)}
    for number in dict.fromkeys(given):
        if number not in written:
            yield Problem("missing-number", (), f"No sub-task has the number {shown(number)} of the question.")
    for name in names(plan.question):
        if not mentions(together, name):
            yield Problem("missing-name", (), f'No sub-task has "{name}" of the question.')
    allowed = {*given, *number_words(plan.question)}
    for task in plan.tasks:
        for number in dict.fromkeys(numbers(without_references(task.task))):
            if number not in allowed:
                reason = f"Sub-task {task.id} has the number {shown(number)}, which is not in the question."
                yield Problem("invented-number", (task.id,), reason)
        for name in names(task.task):
            if not mentions(plan.question, name):
                reason = f'Sub-task {task.id} has "{name}", which is not in the question.'
                yield Problem("invented-name", (task.id,), reason)


def _redundancy(plan: Plan) -> Iterator[Problem]:
    for one, other in combinations(plan.tasks, 2):
        if similarity(one.task, other.task) >= SAME_TASK and one.expert == other.expert:
            yield Problem(
                "duplicate", (one.id, other.id), f"Sub-tasks {one.id} and {other.id} ask for the same; leave one out."
            )


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of two texts' words, 0 to 1.

    Example:
        >>> similarity("find the default width", "Find the default height")
        0.6
    """
    a, b = set(words(one)), set(words(other))
    return len(a & b) / len(a | b) if a | b else 1.0
