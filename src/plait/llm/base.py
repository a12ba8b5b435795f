"""What every chat model offers, wherever it runs: one async method.

[reply] = await model.chat([{"role": "user", "content": "2 + 2 = ?"}])
print(reply.text, reply.usage.completion_tokens)
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plait.core.component import Component
from plait.errors import UsageError
from plait.records import Message

JSONSchema = Mapping[str, Any]


@dataclass(frozen=True)
class Usage:
    """What a reply cost. ``money`` is in the currency of the configured prices; 0 where none are."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0


@dataclass(frozen=True)
class Reply:
    """One completion.

    Args:
        text: The answer, without the stop string that ended it.
        usage: Tokens of this reply; the prompt is counted on the first of ``n`` replies only.
        logprobs: Log-probability of each completion token in nats, where the server gives them.
        finish: ``stop`` or ``length``.
    """

    text: str
    usage: Usage = Usage()
    logprobs: tuple[float, ...] | None = None
    finish: str = "stop"


class ChatModel(Protocol):
    """A model that answers conversations. Calls may run concurrently; implementations batch or limit them."""

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
        """Answer a conversation ``n`` times.

        Args:
            messages: The conversation so far.
            n: How many independent completions.
            temperature: 0 is greedy.
            max_tokens: Longest completion, in tokens.
            stop: Strings that end a completion; they are not part of the text.
            seed: Makes sampling repeatable where the server honours it.
            schema: JSON Schema the text must satisfy. A reply that ran into ``max_tokens`` says ``finish="length"`` and
                may be cut in the middle of its JSON.

        Raises:
            LLMError: The call failed for good. LimitReached: the budget is spent.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and model memory."""
        ...


class ChatComponent(Component):
    """Settings that open into a chat model. Building one touches nothing; `open` does the work."""

    @abstractmethod
    def open(self) -> ChatModel:
        """Load, connect or read whatever the model needs.

        Raises:
            LLMError: It cannot be opened. ModelError: its weights cannot be found.
        """

    def identity(self) -> str:
        """What answers depend on besides the call: what was recorded under one identity is replayed only under it."""
        kind = type(self)
        settings = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{kind.__module__}:{kind.__qualname__}{settings}"


def check_call(
    messages: Sequence[Message], *, n: int, temperature: float, max_tokens: int, stop: Sequence[str]
) -> None:
    """Refuse a call no model could answer, before anything is spent on it.

    Raises:
        UsageError: An argument is out of its range; the message names it and its value.

    Example:
        >>> check_call([{"role": "user", "content": "hi"}], n=1, temperature=0.0, max_tokens=8, stop=())
    """
    problem = None
    if not messages:
        problem = "messages is empty"
    elif n < 1:
        problem = f"n = {n}, but at least one reply must be asked for"
    elif not 0.0 <= temperature < float("inf"):
        problem = f"temperature = {temperature}, which is not a number from 0 up"
    elif max_tokens < 1:
        problem = f"max_tokens = {max_tokens}, but a reply has at least one token"
    elif isinstance(stop, str) or any(not s for s in stop):
        problem = f"stop = {stop!r}, which is not a list of non-empty strings"
    if problem:
        raise UsageError(problem, code="llm.bad-call")
