"""A plan: sub-tasks, who does each, and what each needs; with the questions a graph can be asked.

Source: arXiv 2410.02189 (Agent-Oriented Planning), section 3: a plan is a list of (task, id, agent, reason, dep).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import Field

from plait.core.component import Component


class SubTask(Component):
    """One step, for one expert."""

    id: int = Field(ge=1)
    """Its number; the plan refers to it by this."""
    task: str
    """What to do, in words that stand alone."""
    expert: str
    """Name of the expert who does it."""
    reason: str = ""
    """Why this expert."""
    dep: tuple[int, ...] = ()
    """Sub-tasks whose answers it needs."""


class Plan(Component):
    """Sub-tasks of a question. The last one gives the answer.

    Example:
        >>> plan = Plan(
        ...     question="How many minutes are 3 hours?",
        ...     tasks=(
        ...         SubTask(id=1, task="minutes of an hour", expert="lookup"),
        ...         SubTask(id=2, task="times 3", expert="calculator", dep=(1,)),
        ...     ),
        ... )
        >>> plan.last.id, plan.cycle(), plan.levels()
        (2, [], [[1], [2]])
    """

    question: str
    """What is to be answered."""
    tasks: tuple[SubTask, ...]
    """In the order the planner wrote them."""

    @property
    def last(self) -> SubTask:
        """The sub-task whose answer is the plan's."""
        return self.tasks[-1]

    def by_id(self) -> Mapping[int, SubTask]:
        """Number → sub-task; of equal numbers the first."""
        found: dict[int, SubTask] = {}
        for task in self.tasks:
            found.setdefault(task.id, task)
        return found

    def edges(self) -> Iterator[tuple[int, int]]:
        """``(needed, needing)`` for every dependency on a sub-task that exists."""
        known = self.by_id()
        for task in self.tasks:
            for needed in task.dep:
                if needed in known:
                    yield needed, task.id

    def cycle(self) -> list[int]:
        """Sub-tasks that wait for each other in a circle; empty if there is none."""
        needs = {task.id: [d for d in task.dep if d in self.by_id()] for task in self.tasks}
        finished: set[int] = set()
        for start in needs:
            trail: list[int] = []
            ahead = [iter([start])]
            while ahead:
                task = next(ahead[-1], None)
                if task is None:
                    ahead.pop()
                    if trail:
                        finished.add(trail.pop())
                elif task in trail:
                    return trail[trail.index(task) :]
                elif task not in finished:
                    trail.append(task)
                    ahead.append(iter(needs[task]))
        return []

    def unused(self) -> list[int]:
        """Sub-tasks whose answer reaches the last one by no way."""
        known = self.by_id()
        reached: set[int] = set()
        to_visit = [self.last.id] if self.tasks else []
        while to_visit:
            task = to_visit.pop()
            if task not in reached:
                reached.add(task)
                to_visit.extend(d for d in known[task].dep if d in known)
        return [task.id for task in self.tasks if task.id not in reached]

    def levels(self) -> list[list[int]]:
        """Sub-tasks by the length of the longest chain before them: those of one level can run together.

        Only for a plan without a `cycle`.
        """
        depth: dict[int, int] = {}
        left = list(self.tasks)
        while left:
            ready = [t for t in left if all(d in depth for d in t.dep if d in self.by_id())]
            for task in ready:
                depth[task.id] = 1 + max((depth[d] for d in task.dep if d in depth), default=-1)
            left = [task for task in left if task.id not in depth]
        return [
            [task for task, level in depth.items() if level == n] for n in range(max(depth.values(), default=-1) + 1)
        ]
