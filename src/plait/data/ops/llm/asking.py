"""Asking a chat model many questions at once, each until its answer can be used."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.errors import LimitReached, LLMError, PlaitError, ReplayMiss, UsageError
from plait.llm import ChatModel, JSONSchema, Reply
from plait.records import Message

Shape = Mapping[str, Mapping[str, Any]]
"""The fields of an answer: JSON Schema by name. All are required."""

TEXT: Mapping[str, Any] = {"type": "string"}
"""Schema of a text."""
TEXTS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}
"""Schema of a list of texts."""


_MAX_TOKENS = 1024
_ON_THE_WAY = 256
"""How many questions of a batch are asked at once: enough to keep a server busy, so few that none times out waiting."""
_HOPELESS = frozenset({"llm.unauthorized", "llm.forbidden", "llm.unknown-model", "llm.quota", "llm.unreachable"})
"""Failures that the next question meets as well; the endpoint has tried again already where that could help."""


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Args:
        system: What it has to do; empty for none.
        user: What it has to do it with.
    """

    system: str
    user: str


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Args:
        values: The fields of the answer, or ``None`` if there is no usable one.
        status: ``ok``, ``not asked``, ``unusable: why`` or ``failed: why``.
        prompt_tokens: Tokens read, over all tries.
        completion_tokens: Tokens written, over all tries.
        money: What it cost, where the model has prices.
    """

    values: Mapping[str, Any] | None
    status: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0


NOT_ASKED = Answer(None, "not asked")

Check = Callable[[Mapping[str, Any]], str | None]
"""Says what is wrong with an answer that has the right shape."""


def schema_of(shape: Shape) -> JSONSchema:
    """The JSON Schema of an answer.

    Example:
        >>> schema_of({"score": {"type": "integer"}})["required"]
        ['score']
    """
    return {
        "type": "object",
        "properties": {name: dict(kind) for name, kind in shape.items()},
        "required": list(shape),
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Options:
    """How answers are drawn; see `plait.llm.ChatModel.chat`."""

    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int | None


@dataclass(frozen=True)
class Task:
    """What is the same for all questions: how often to try, the schema, how to read a reply, how answers are drawn."""

    tries: int
    schema: JSONSchema | None
    read: Callable[[Reply], Mapping[str, Any]]
    options: Options


class _Unusable(Exception):
    """An answer that is not what was asked for; its text says why."""


def call_options(params: Mapping[str, Any]) -> Options:
    """From Data-Juicer's ``sampling_params``."""
    stop = params.get("stop") or ()
    return Options(
        temperature=float(params.get("temperature", 0.0)),
        max_tokens=int(params.get("max_tokens", params.get("max_new_tokens", _MAX_TOKENS))),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=params.get("seed"),
    )


async def ask_all(
    model: ChatModel, questions: Sequence[Question | None], task: Task
) -> tuple[list[Answer], LLMError | None]:
    """All answers; and the error to raise if the model gave none at all.

    Raises:
        LLMError: A failure that every question would meet: a limit is reached, the key is refused, the server is gone.
            Calls on their way are waited for, so that what they cost is recorded; no others are made.
    """
    asked = [(place, question) for place, question in enumerate(questions) if question is not None]
    gate, ends = asyncio.Semaphore(_ON_THE_WAY), list[PlaitError]()

    async def ask(question: Question) -> tuple[Answer, LLMError | None]:
        async with gate:
            try:
                return (NOT_ASKED, None) if ends else await _ask_one(model, question, task, ends)
            except PlaitError as error:
                ends.append(error)
                return NOT_ASKED, None

    results = await asyncio.gather(*(ask(question) for _, question in asked))
    if ends:
        raise ends[0]
    answers = [NOT_ASKED] * len(questions)
    for (place, _), (answer, _) in zip(asked, results, strict=True):
        answers[place] = answer
    failures = [failure for _, failure in results if failure is not None]
    return answers, failures[0] if len(failures) == len(results) else None


async def _ask_one(
    model: ChatModel, question: Question, task: Task, ends: Sequence[PlaitError]
) -> tuple[Answer, LLMError | None]:
    status, failure, read, written, money = "", None, 0, 0, 0.0
    user = question.user
    system = question.system
    if task.schema is not None:
        system = f"{system}\n\nAnswer with one JSON object of this schema:\n{json.dumps(task.schema)}".strip()
    for _ in range(task.tries):
        if ends:
            break
        messages: list[Message] = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": user})
        try:
            [reply] = await model.chat(
                messages,
                temperature=task.options.temperature,
                max_tokens=task.options.max_tokens,
                stop=() if task.schema is not None else task.options.stop,
                seed=task.options.seed,
                schema=task.schema,
            )
        except (LimitReached, ReplayMiss):
            raise
        except LLMError as error:
            if error.code in _HOPELESS:
                raise
            if error.code != "llm.schema-not-met":
                status, failure = f"failed: {error.message}", error
                continue
            status, failure = f"unusable: {error.message}", None
        else:
            failure = None
            read, written = read + reply.usage.prompt_tokens, written + reply.usage.completion_tokens
            money += reply.usage.money
            try:
                return Answer(task.read(reply), "ok", read, written, money), None
            except _Unusable as problem:
                status = f"unusable: {problem}"
        # The reason makes the next try another question, so that a greedy model can give another answer.
        user = f"{question.user}\n\n(An earlier answer could not be used; {status.removeprefix('unusable: ')}.)"
    return Answer(None, status, read, written, money), failure


def read_reply(reply: Reply, shape: Shape, pattern: str | None, check: Check | None) -> Mapping[str, Any]:
    """The fields of a reply."""
    if reply.finish == "length":
        raise _Unusable("it was cut at max_tokens")
    values = json.loads(reply.text) if pattern is None else first_match(reply.text, pattern, tuple(shape))
    empty = [name for name, kind in shape.items() if kind == TEXT and not str(values[name]).strip()]
    problem = f"{empty[0]} is empty" if empty else (check(values) if check else None)
    if problem:
        raise _Unusable(problem)
    return {name: value.strip() if isinstance(value, str) else value for name, value in values.items()}


def first_match(text: str, pattern: str, names: Sequence[str]) -> Mapping[str, str]:
    """The groups of the first match of a regular expression (Rust syntax: linear time), by name in their order."""
    import polars as pl

    try:
        groups = pl.Series([text]).str.extract_groups(f"(?s){pattern}").struct.unnest().row(0)
    except pl.exceptions.ComputeError as error:
        raise UsageError(
            f"the pattern {pattern!r} cannot be used: {error}",
            code="llm.bad-pattern",
            hint="Rust syntax, without look-around; or leave it out, and the answer is JSON",
        ) from error
    if len(groups) < len(names):
        raise UsageError(
            f"the pattern {pattern!r} has {len(groups)} groups, and {len(names)} are needed: {', '.join(names)}",
            code="llm.bad-pattern",
        )
    if groups[0] is None:
        raise _Unusable("it does not match the output pattern")
    return dict(zip(names, (group or "" for group in groups), strict=False))
