from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from plait.plan.detect import Problem, detect
from plait.plan.experts import Answer, Calculator, Expert, Lookup, Writer
from plait.plan.facts import mentions, names, numbers
from plait.plan.plan import Plan, SubTask
from plait.plan.search import Library

LIBRARY = Library([{"id": "textwrap.TextWrapper", "text": "width (default: 70) the width of lines"}])
EXPERTS: dict[str, Expert] = {
    "lookup": Lookup(LIBRARY, None),
    "calculator": Calculator(None),
    "writer": Writer(None),
}
QUESTION = "What is the default width of textwrap.TextWrapper, and what are 12 lines of it?"
GOOD = (
    {"id": 1, "task": "Find the default width of textwrap.TextWrapper.", "expert": "lookup"},
    {"id": 2, "task": "Compute 12 times that width.", "expert": "calculator", "dep": [1]},
)


def problems(*tasks: dict[str, object], question: str = QUESTION) -> list[Problem]:
    made = Plan(question=question, tasks=tuple(SubTask.model_validate(task) for task in tasks))
    return detect(made, EXPERTS)


def kinds(*tasks: dict[str, object], question: str = QUESTION) -> list[str]:
    return [problem.kind for problem in problems(*tasks, question=question)]


def test_a_good_plan_has_no_problem() -> None:
    assert problems(*GOOD) == []
    assert problems(GOOD[0], GOOD[1] | {"task": "Multiply the answer of sub-task 1 by twelve."}) == []


def test_no_plan_at_all() -> None:
    assert kinds() == ["empty"]


@pytest.mark.parametrize(
    ("change", "kind", "tasks", "says"),
    [
        ((0, {"dep": [2]}), "cycle", (2, 1), "2 → 1 → 2"),
        ((1, {"dep": [1, 2]}), "cycle", (2,), "2 → 2"),
        ((1, {"dep": [1, 7]}), "missing-dependency", (2,), "depends on 7"),
        ((1, {"id": 1, "dep": []}), "duplicate-id", (1,), "id 1"),
        ((0, {"expert": "oracle"}), "unknown-expert", (1,), "the experts are lookup, calculator, writer"),
        ((1, {"task": "Compute 13 times that width."}), "missing-number", (), "the number 12 of"),
        ((1, {"task": "Compute 13 and 12 times that width."}), "invented-number", (2,), "the number 13, which"),
        ((0, {"task": "Find the default width."}), "missing-name", (), '"textwrap.TextWrapper"'),
        (
            (0, {"task": "Find the width of textwrap.TextWrapper in smtplib.SMTP."}),
            "invented-name",
            (1,),
            "smtplib.SMTP",
        ),
        ((1, {"expert": "lookup"}), "unsolvable", (2,), "a look-up does none"),
        ((0, {"expert": "calculator"}), "unsolvable", (1,), "it has 0 numbers"),
        ((0, {"task": "Qqq textwrapperx"}), "unsolvable", (1,), "no document has any of its words"),
        ((0, {"expert": "writer"}), "unsolvable", (1,), "no answers to write about"),
    ],
)
def test_each_problem_has_its_kind_place_and_reason(
    change: tuple[int, dict[str, object]], kind: str, tasks: tuple[int, ...], says: str
) -> None:
    place, difference = change
    changed = [task | difference if i == place else task for i, task in enumerate(GOOD)]
    found = [p for p in problems(*changed) if p.kind == kind]
    assert [sorted(p.tasks) for p in found] == [sorted(tasks)]
    assert says in found[0].reason or set(says.split(" → ")) <= set(found[0].reason.replace(".", "").split())


def test_an_unused_answer() -> None:
    [found] = problems(*GOOD[:1], GOOD[1] | {"dep": [], "task": "Compute 12 times 12."})
    assert (found.kind, found.tasks) == ("unused", (1,))
    assert "add 1 to the dep" in found.reason


def test_the_same_task_twice() -> None:
    again = {"id": 3, "task": "find the default width of textwrap.TextWrapper", "expert": "lookup"}
    assert kinds(*GOOD[:1], again, GOOD[1] | {"dep": [1, 3]}) == ["duplicate"]


def test_all_problems_are_found_at_once() -> None:
    assert set(kinds({"id": 1, "task": "Compute 3.", "expert": "oracle", "dep": [1, 4]})) == {
        "missing-dependency",
        "cycle",
        "unknown-expert",
        "missing-number",
        "missing-name",
        "invented-number",
    }


def test_numbers_are_compared_by_value_and_names_without_case() -> None:
    question = "What are 1,000.50 times the 'line width' of textwrap.textwrapper?"
    tasks = (
        {"id": 1, "task": "Find the line width of textwrap.TextWrapper", "expert": "lookup"},
        {"id": 2, "task": "Compute 1000.5 times it", "expert": "calculator", "dep": [1]},
    )
    assert kinds(*tasks, question=question) == []


def test_facts_by_hand() -> None:
    assert [str(n) for n in numbers("Python 3.11, v2, 0x10, 1.5e3, (7), 8. 9%")] == ["311/100", "7", "8", "9"]
    assert names("the User's SQL of `a b` isn't \"c\"") == ["SQL", "a b", "c"]
    assert mentions("of textwrap.TextWrapper.", "TextWrapper")


@dataclass
class Deaf:
    name: str = "deaf"
    description: str = "does nothing"
    needs_numbers: bool = False

    def refuses(self, task: SubTask) -> str | None:
        return "never" if "x" in task.task else None

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        return Answer("")


def test_your_own_expert_is_asked_too() -> None:
    made = Plan(question="q", tasks=(SubTask(id=1, task="do x", expert="deaf"),))
    assert [p.reason for p in detect(made, {"deaf": Deaf()})] == ["Sub-task 1 does not suit deaf: never."]
    assert asyncio.run(Deaf().answer(made.last)).text == ""
