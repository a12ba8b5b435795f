"""The meta-agent: one call of a model splits a question into sub-tasks and gives each to an expert.

Source: arXiv 2410.02189, section 3.1 (fast decomposition and allocation in one call).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.errors import LLMError
from plait.llm.base import ChatModel
from plait.plan.plan import Plan, SubTask
from plait.records import Message

if TYPE_CHECKING:
    from plait.plan.experts import Expert

_PLAN_TOKENS = 400
_EXAMPLE_QUESTION = "What is the default port of smtplib.SMTP, and what is 3 times that port?"
_EXAMPLE_PLAN = {
    "tasks": [
        {
            "id": 1,
            "task": "Find the default port of smtplib.SMTP.",
            "expert": "lookup",
            "reason": "it is a fact in the documents",
            "dep": [],
        },
        {
            "id": 2,
            "task": "Compute 3 times that port.",
            "expert": "calculator",
            "reason": "it is arithmetic",
            "dep": [1],
        },
    ]
}


async def decompose(
    question: str,
    experts: Mapping[str, Expert],
    model: ChatModel,
    *,
    feedback: Sequence[str] = (),
    rejected: Plan | None = None,
    max_tasks: int = 6,
    seed: int = 0,
) -> Plan:
    """Ask for a plan.

    Args:
        question: What is to be answered.
        experts: Name → expert; the plan can name no other.
        model: The planner; called once, greedily.
        feedback: What was wrong with the plan before.
        rejected: That plan.
        max_tasks: Most sub-tasks.
        seed: For models that are not greedy at temperature 0.

    Raises:
        LLMError: The model failed, or its answer is no whole JSON of `plan_schema`.
    """
    [reply] = await model.chat(
        planning_prompt(question, experts, feedback=feedback, rejected=rejected),
        max_tokens=_PLAN_TOKENS,
        seed=seed,
        schema=plan_schema(list(experts), max_tasks=max_tasks),
    )
    try:
        tasks = json.loads(reply.text)["tasks"]
        return Plan(question=question, tasks=tuple(SubTask.model_validate(task) for task in tasks))
    except (ValueError, KeyError, TypeError) as error:
        cut = f"cut off after {_PLAN_TOKENS} tokens" if reply.finish == "length" else "not a plan in JSON"
        raise LLMError(
            f"the planner's answer is {cut}: {_short(reply.text)}",
            code="plan.not-a-plan",
            hint="use a model that honours JSON schemas",
        ) from error


def plan_schema(experts: Sequence[str], *, max_tasks: int) -> dict[str, Any]:
    """JSON Schema of a plan; the expert is one of those there are.

    Example:
        >>> plan_schema(["lookup"], max_tasks=2)["properties"]["tasks"]["items"]["properties"]["expert"]
        {'enum': ['lookup']}
    """
    number = {"type": "integer", "minimum": 1, "maximum": max_tasks}
    properties = {
        "id": number,
        "task": {"type": "string", "minLength": 4, "maxLength": 200},
        "expert": {"enum": list(experts)},
        "reason": {"type": "string", "minLength": 1, "maxLength": 80},
        "dep": {"type": "array", "items": number, "maxItems": max_tasks},
    }
    task = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": task, "minItems": 1, "maxItems": max_tasks}},
        "required": ["tasks"],
        "additionalProperties": False,
    }


def planning_prompt(
    question: str, experts: Mapping[str, Expert], *, feedback: Sequence[str] = (), rejected: Plan | None = None
) -> list[Message]:
    """The conversation that ends with the planner's turn: rules, experts, one worked example, the question.

    A rejected plan and the reasons follow the question, so that the beginning is the same at each try.
    """
    listed = "\n".join(f"- {expert.name}: {expert.description}" for expert in experts.values())
    rules = (
        "You are a planner. Split the question into sub-tasks, one expert each. Keep every name and number of the "
        f"question. Experts:\n{listed}"
    )
    prompt: list[Message] = [
        {"role": "system", "content": rules},
        {"role": "user", "content": f"Question: {_EXAMPLE_QUESTION}"},
        {"role": "assistant", "content": json.dumps(_EXAMPLE_PLAN)},
        {"role": "user", "content": f"Question: {question}"},
    ]
    if rejected is not None:
        tasks = [task.model_dump(mode="json") for task in rejected.tasks]
        prompt.append({"role": "assistant", "content": json.dumps({"tasks": tasks})})
    if feedback:
        reasons = "\n".join(f"- {reason}" for reason in feedback)
        prompt.append(
            {"role": "user", "content": f"That plan has problems:\n{reasons}\nWrite it again. Question: {question}"}
        )
    return prompt


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "…")
