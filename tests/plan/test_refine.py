from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import pytest

from plait.errors import LimitReached, LLMError
from plait.plan.decompose import decompose, plan_schema, planning_prompt
from plait.plan.experts import Calculator, Lookup
from plait.plan.refine import Planning, plan_question
from plait.plan.search import Library
from plan_scripts import Talker, sub

QUESTION = "What is the default width of textwrap.TextWrapper, and what are 12 lines of it?"
FIND = sub(1, "Find the default width of textwrap.TextWrapper", "lookup")
GOOD = [FIND, sub(2, "Compute 12 times that width", "calculator", 1)]
CIRCLE = [FIND | {"dep": [2]}, GOOD[1]]
NO_TWELVE = [FIND, sub(2, "Compute twice that width and 24", "calculator", 1)]


def experts() -> dict[str, Any]:
    library = Library([{"id": "textwrap.TextWrapper", "text": "width (default: 70) the width of lines"}])
    return {"lookup": Lookup(library, None), "calculator": Calculator(None)}


def refine(*plans: object, tries: int = 3) -> tuple[Planning, Talker]:
    talker = Talker(plans)
    return asyncio.run(plan_question(QUESTION, experts(), talker, tries=tries)), talker


def test_a_good_plan_is_taken_at_once() -> None:
    planning, talker = refine(GOOD)
    assert planning.plan is not None
    assert [t.task for t in planning.plan.tasks] == [t["task"] for t in GOOD]
    assert (planning.stopped, len(talker.prompts)) == ("accepted", 1)


def test_the_exact_reasons_and_the_rejected_plan_go_back() -> None:
    planning, talker = refine(CIRCLE, GOOD)
    assert planning.plan is not None
    assert [len(a.problems) for a in planning.attempts] == [1, 0]
    rejected, reasons = talker.prompts[1][-2:]
    assert json.loads(rejected["content"])["tasks"][0]["dep"] == [2]
    assert planning.attempts[0].problems[0].reason in reasons["content"]
    assert talker.prompts[1][:4] == talker.prompts[0]  # the beginning is shared


def test_it_stops_when_problems_do_not_get_fewer() -> None:
    planning, talker = refine(NO_TWELVE, NO_TWELVE, GOOD)
    assert (planning.plan, planning.stopped) == (None, "no fewer problems")
    assert [p.kind for p in planning.attempts[0].problems] == ["missing-number", "invented-number"]
    assert len(talker.prompts) == 2


def test_it_stops_after_the_tries_it_has() -> None:
    planning, _ = refine(NO_TWELVE, CIRCLE, tries=2)
    assert (planning.plan, planning.stopped, len(planning.attempts)) == (None, "no tries left", 2)


@pytest.mark.parametrize(
    "broken", ["no JSON", '{"tasks": [{"id": 1', '{"steps": []}', '{"tasks": 3}', '{"tasks": [{"id": 0}]}']
)
def test_broken_answers_are_reported_and_tried_again(broken: str) -> None:
    planning, talker = refine(broken, GOOD)
    assert planning.plan is not None
    assert [p.kind for p in planning.attempts[0].problems] == ["not-a-plan"]
    assert planning.attempts[0].plan is None
    assert "planner's answer" in talker.prompts[1][-1]["content"]
    assert refine(broken, broken, broken)[0].stopped == "no tries left"


def test_a_failed_model_is_not_a_bad_plan() -> None:
    with pytest.raises(LLMError, match="server is gone"):
        refine(LLMError("the server is gone", code="llm.failed"))
    with pytest.raises(LimitReached):
        refine(LimitReached("spent", code="llm.limit"))


def test_the_schema_allows_plans_of_these_experts_only() -> None:
    schema = plan_schema(["lookup", "calculator"], max_tasks=3)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"tasks": GOOD}, schema)
    for bad in ([], [FIND | {"expert": "oracle"}], [FIND | {"dep": [4]}], [FIND] * 4, [FIND | {"more": 1}]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"tasks": bad}, schema)


def test_the_prompt_names_every_expert_and_has_one_example() -> None:
    prompt = planning_prompt(QUESTION, experts())
    assert [m["role"] for m in prompt] == ["system", "user", "assistant", "user"]
    for expert in experts().values():
        assert f"- {expert.name}: {expert.description}" in prompt[0]["content"]
    jsonschema.validate(json.loads(prompt[2]["content"]), plan_schema(["lookup", "calculator"], max_tasks=6))
    assert prompt[-1]["content"] == f"Question: {QUESTION}"


def test_decompose_says_what_came_instead_of_a_plan() -> None:
    with pytest.raises(LLMError, match="not a plan in JSON: 'hello'"):
        asyncio.run(decompose(QUESTION, experts(), Talker(["hello"])))
