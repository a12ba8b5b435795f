"""A chat model for tests that answers by what it is asked for, and remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plait.llm.base import Reply, Usage
from plait.records import Message


class Talker:
    """Answers plans from a list in order; look-ups and expressions by a rule."""

    def __init__(
        self,
        plans: Sequence[object] = (),
        *,
        sentence: int = 1,
        expression: Callable[[Sequence[str]], str] | None = None,
        text: str = "",
    ) -> None:
        self.plans = list(plans)
        self.sentence = sentence
        self.expression = expression
        self.text = text
        self.prompts: list[Sequence[Message]] = []

    async def chat(
        self, messages: Sequence[Message], *, schema: Mapping[str, Any] | None = None, **_: Any
    ) -> list[Reply]:
        self.prompts.append(messages)
        return [Reply(self._answer(schema), Usage(1, 1))]

    def _answer(self, schema: Mapping[str, Any] | None) -> str:
        if schema is None:
            return self.text
        if "tasks" in schema.get("properties", {}):
            plan = self.plans.pop(0)
            if isinstance(plan, BaseException):
                raise plan
            return plan if isinstance(plan, str) else json.dumps({"tasks": plan})
        if "anyOf" in schema:
            choice = schema["anyOf"][self.sentence - 1]["properties"]
            answer = {"sentence": self.sentence}
            if "value" in choice:
                answer["value"] = choice["value"]["enum"][0]
            return json.dumps(answer)
        pattern = schema["properties"]["expression"]["pattern"]
        operands = pattern[2 : pattern.index(")")].replace("\\", "").split("|")
        write = self.expression or " * ".join
        return json.dumps({"expression": write(operands)})

    async def aclose(self) -> None:
        pass


def sub(number: int, task: str, expert: str, *dep: int) -> dict[str, object]:
    return {"id": number, "task": task, "expert": expert, "reason": "r", "dep": list(dep)}
