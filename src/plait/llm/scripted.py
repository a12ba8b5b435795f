r"""A model whose answers are written down beforehand: for tests, demos and teaching.

model = Scripted(rules=[{"pattern": r"what is (\d+) \+ 0", "answer": r"\1"}]).open()
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from plait.core.component import Component
from plait.errors import LLMError, nearest
from plait.llm.base import ChatComponent, JSONSchema, Reply, Usage, check_call
from plait.llm.schemas import check_reply, check_schema
from plait.llm.usage import UsageMeter
from plait.records import Message

_WORD = re.compile(r"\s*\S+")


class Rule(Component):
    """One rule: the answer where the pattern is found in the last message."""

    pattern: str
    """Regular expression, searched in the last message (upper and lower case differ; `.` also matches a line end)."""

    answer: str
    r"""The answer; ``\1`` or ``\g<name>`` stand for groups of the pattern."""

    @model_validator(mode="after")
    def _can_be_expanded(self) -> Self:
        try:
            re.compile(self.pattern, re.DOTALL).sub(self.answer, "")  # reads the answer's groups, whatever the text
        except (re.error, IndexError) as error:
            raise ValueError(f"the rule {self.pattern!r} → {self.answer!r} does not work: {error}") from error
        return self


class Scripted(ChatComponent):
    """Answers from a list in order, from a table by last message, or from rules; give exactly one of the three.

    Example:
        >>> import asyncio
        >>> model = Scripted(answers=["4", "5"]).open()
        >>> asyncio.run(model.chat([{"role": "user", "content": "2 + 2 = ?"}]))[0].text
        '4'
    """

    answers: tuple[str, ...] | None = None
    """One answer per reply asked for, in order; a call beyond the last one fails."""

    table: Mapping[str, str] | None = None
    """Last message → answer, compared whole."""

    rules: tuple[Rule, ...] | None = None
    """The first rule that fits answers."""

    fail_calls: tuple[int, ...] = ()
    """Calls that fail, counted from 1. A failed call uses up no answer, so a caller who tries again gets it."""

    latency_s: float = Field(default=0.0, ge=0)
    """How long each call takes, in seconds."""

    @model_validator(mode="after")
    def _one_script(self) -> Self:
        given = [name for name in ("answers", "table", "rules") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of answers, table and rules, not {' and '.join(given) or 'none'}")
        if any(k < 1 for k in self.fail_calls):
            raise ValueError("fail_calls counts from 1")
        return self

    def open(self) -> ScriptedModel:
        """Start at the top of the script."""
        return ScriptedModel(self)


@dataclass(frozen=True)
class ScriptedCall:
    """What a scripted model was asked, for assertions."""

    messages: tuple[Message, ...]
    n: int
    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int | None
    schema: JSONSchema | None


class ScriptedModel:
    """An opened script. ``calls`` is everything it was asked, failed calls included.

    A token is a word here, so ``max_tokens`` and usage can be exercised.
    """

    def __init__(self, script: Scripted) -> None:
        self.script = script
        self.calls: list[ScriptedCall] = []
        self.meter = UsageMeter()
        self._used = 0

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        seed: int | None = None,
        schema: JSONSchema | None = None,
    ) -> list[Reply]:
        """See `plait.llm.base.ChatModel.chat`.

        Raises:
            LLMError: The call was told to fail, the script is exhausted, or nothing in it fits.
        """
        check_call(messages, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)
        check_schema(schema)
        self.calls.append(ScriptedCall(tuple(messages), n, temperature, max_tokens, tuple(stop), seed, schema))
        number = len(self.calls)
        self.meter.count(requests=1)
        if number in self.script.fail_calls:
            await asyncio.sleep(self.script.latency_s)
            raise LLMError(f"call {number} fails, as scripted", code="llm.scripted-failure")
        texts = self._answers(messages[-1]["content"], n, number)
        await asyncio.sleep(self.script.latency_s)
        read = sum(len(m["content"].split()) for m in messages)
        replies = [
            _reply(text, prompt_tokens=read if i == 0 else 0, max_tokens=max_tokens, stop=stop)
            for i, text in enumerate(texts)
        ]
        for reply in replies:
            check_reply(reply, schema, who="the script")
        self.meter.answered(replies)
        return replies

    async def aclose(self) -> None:
        """Nothing to release."""

    def _answers(self, asked: str, n: int, number: int) -> list[str]:
        script = self.script
        if script.answers is not None:
            texts = list(script.answers[self._used : self._used + n])
            if len(texts) < n:
                raise LLMError(
                    f"the script is exhausted: call {number} asks for {n} and {len(texts)} of "
                    f"{len(script.answers)} answers are left",
                    code="llm.script-exhausted",
                    hint="write more answers, or use rules",
                )
            self._used += n
            return texts
        if script.table is not None:
            if asked not in script.table:
                raise LLMError(
                    f"the script's table has no answer to {_short(asked)}",
                    code="llm.no-script",
                    hint=nearest(asked, script.table),
                )
            return [script.table[asked]] * n
        for rule in script.rules or ():
            match = re.search(rule.pattern, asked, re.DOTALL)
            if match:
                return [match.expand(rule.answer)] * n
        raise LLMError(
            f"no rule of the script fits {_short(asked)}",
            code="llm.no-script",
            hint='add a rule; the pattern "" fits everything',
        )


def _reply(text: str, *, prompt_tokens: int, max_tokens: int, stop: Sequence[str]) -> Reply:
    ends = [at for at in (text.find(s) for s in stop) if at >= 0]
    text = text[: min(ends)] if ends else text
    words = _WORD.findall(text)
    finish = "length" if len(words) > max_tokens else "stop"
    if finish == "length":
        text = "".join(words[:max_tokens])
    return Reply(text, Usage(prompt_tokens, min(len(words), max_tokens)), finish=finish)


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "…")
