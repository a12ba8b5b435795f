"""What every chat model offers, wherever it runs: one async method.

    reply, = await model.chat([{"role": "user", "content": "2 + 2 = ?"}])
    reply.text, reply.usage.completion_tokens
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
            schema: JSON Schema the text must satisfy.

        Raises:
            LLMError: The call failed for good. LimitReached: the budget is spent.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and model memory."""
        ...
