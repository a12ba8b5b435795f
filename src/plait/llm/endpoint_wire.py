"""Chat completions on the wire: the request's fields, and replies read from an answer that may be anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from plait.llm.base import JSONSchema, Reply, Usage
from plait.llm.endpoint_errors import MalformedAnswer
from plait.llm.limits import Prices
from plait.records import Message

_BYTES_PER_TOKEN = 3  # English has about 4.5 UTF-8 bytes per token and Chinese about 3; estimates are from above
_TOKENS_PER_MESSAGE = 8  # role and separators


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _TokenLogprob(BaseModel):
    logprob: float


class _Logprobs(BaseModel):
    content: list[_TokenLogprob] | None = None


class _Choice(BaseModel):
    message: _Message
    index: int = 0
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    """What we read of a completion; servers add and leave out much else."""

    choices: list[_Choice]
    usage: _Usage | None = None


@dataclass(frozen=True)
class Answer:
    """Replies and the tokens of the whole request."""

    replies: list[Reply]
    prompt_tokens: int
    completion_tokens: int
    estimated: bool

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def money(self) -> float:
        """The price of the request."""
        return sum(reply.usage.money for reply in self.replies)


def request_body(
    messages: Sequence[Message],
    *,
    model: str,
    n: int,
    temperature: float,
    max_tokens: int,
    length_field: str,
    stop: Sequence[str],
    seed: int | None,
    schema: JSONSchema | None,
    strict_schema: bool,
    logprobs: bool,
) -> dict[str, Any]:
    """The JSON of a request; what is not asked for is left out, since servers differ in what they know."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "temperature": temperature,
        length_field: max_tokens,
    }
    if n > 1:
        body["n"] = n
    if stop:
        body["stop"] = list(stop)
    if seed is not None:
        body["seed"] = seed
    if logprobs:
        body["logprobs"] = True
    if schema is not None:
        wrapped = {"name": "reply", "schema": dict(schema), "strict": strict_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": wrapped}
    return body


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Tokens of a prompt, guessed from above without its tokenizer.

    Example:
        >>> estimate_tokens([{"role": "user", "content": "a" * 300}])
        108
    """
    return sum(math.ceil(_bytes(m["content"]) / _BYTES_PER_TOKEN) + _TOKENS_PER_MESSAGE for m in messages)


def read_answer(text: str, *, n: int, prompt_estimate: int, prices: Prices) -> Answer:
    """Replies out of a server's answer.

    Args:
        text: The body of a 200 response.
        n: How many replies were asked for.
        prompt_estimate: Prompt tokens to assume where the server reports no usage.
        prices: What a token costs.

    Raises:
        MalformedAnswer: The text is no completion, or holds no text or too few replies.

    Example:
        >>> body = '{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}'
        >>> read_answer(body, n=1, prompt_estimate=9, prices=Prices()).replies[0].text
        '4'
    """
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedAnswer(f"{f'{place}: ' if place else ''}{first['msg']}, in {_short(text)}") from error
    choices = sorted(completion.choices, key=lambda c: c.index)
    if len(choices) < n:
        raise MalformedAnswer(f"{n} replies were asked for and {len(choices)} came; set separate_replies: true")
    for choice in choices:
        if choice.message.content is None:
            raise MalformedAnswer(f"a reply has no text ({choice.message.refusal or choice.finish_reason})")
    texts = [choice.message.content or "" for choice in choices[:n]]
    usage = completion.usage
    prompt = usage.prompt_tokens if usage else prompt_estimate
    written = usage.completion_tokens if usage else sum(math.ceil(_bytes(t) / _BYTES_PER_TOKEN) for t in texts)
    shares = _share(written, [_bytes(t) for t in texts])
    replies = [
        Reply(
            choice_text,
            Usage(prompt if i == 0 else 0, share, prices.of(prompt if i == 0 else 0, share)),
            logprobs=_logprobs(choice),
            finish="length" if choice.finish_reason == "length" else "stop",
        )
        for i, (choice, choice_text, share) in enumerate(zip(choices, texts, shares, strict=False))
    ]
    return Answer(replies, prompt, written, estimated=usage is None)


def _logprobs(choice: _Choice) -> tuple[float, ...] | None:
    if choice.logprobs is None or choice.logprobs.content is None:
        return None
    return tuple(token.logprob for token in choice.logprobs.content)


def _share(total: int, weights: Sequence[int]) -> list[int]:
    """Split the tokens of ``n`` replies, which servers report only in sum, by length; the shares add up exactly."""
    all_weight = sum(weights) or 1
    shares: list[int] = []
    passed, given = 0, 0
    for weight in weights[:-1]:
        passed += weight
        shares.append(round(total * passed / all_weight) - given)
        given += shares[-1]
    return [*shares, total - given]


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
