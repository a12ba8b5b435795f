"""The OpenAI chat API seen from the server: a request read strictly, answers and errors written in its shapes.

A field that would change the answer and is not served here is an error, never ignored; fields that only concern
billing or bookkeeping (``user``, ``metadata``, …) are accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from plait.llm.base import JSONSchema, Reply
from plait.records import Message

_IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
    }
)
_DEFAULTS: Mapping[str, Any] = {  # accepted when they say what happens here anyway
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "logit_bias": {},
    "tools": [],
    "tool_choice": "none",
}


class BadRequest(Exception):
    """A request this server cannot serve; ``param`` is the field at fault."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _TextPart(_Strict):
    type: Literal["text"]
    text: str


class _Turn(_Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_TextPart]
    name: str | None = None


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _NamedSchema(BaseModel):
    name: str = "reply"
    schema_: dict[str, Any] = Field(alias="schema")


class _Text(_Strict):
    type: Literal["text"]


class _JSONObject(_Strict):
    type: Literal["json_object"]


class _JSONSchema(_Strict):
    type: Literal["json_schema"]
    json_schema: _NamedSchema


class ChatRequest(_Strict):
    """A chat completion request."""

    model: str
    messages: Annotated[list[_Turn], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=128)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    seed: int | None = None
    logprobs: bool = False
    stream: bool = False
    stream_options: _StreamOptions = _StreamOptions()
    response_format: Annotated[_Text | _JSONObject | _JSONSchema, Field(discriminator="type")] = _Text(type="text")

    @property
    def conversation(self) -> list[Message]:
        """The messages, text parts joined."""
        return [{"role": turn.role, "content": _joined(turn.content)} for turn in self.messages]

    @property
    def stops(self) -> tuple[str, ...]:
        """Stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def reply_schema(self) -> JSONSchema | None:
        """The schema replies must satisfy."""
        match self.response_format:
            case _JSONSchema(json_schema=named):
                return named.schema_
            case _JSONObject():
                return {"type": "object"}
            case _:
                return None


def read_request(body: bytes) -> ChatRequest:
    """Parse and check a request.

    Raises:
        BadRequest: It is not JSON, a field is wrong or missing, or asks for what is not served.

    Example:
        >>> read_request(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": "x"}').stops
        ('x',)
    """
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRequest("the body must be a JSON object")
    asked: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None or name in _IGNORED:
            continue
        if name in _DEFAULTS:
            if value != _DEFAULTS[name]:
                raise BadRequest(f"{name} is not supported here, except as {_DEFAULTS[name]!r}", param=name)
            continue
        asked[name] = value
    try:
        return ChatRequest.model_validate(asked)
    except ValidationError as error:
        # Where a field may be one of several things, the problem that lies deepest is the one of the thing meant.
        worst = max(error.errors(include_url=False), key=lambda e: len(e["loc"]))
        place = ".".join(str(part) for part in worst["loc"] if _is_place(part))
        what = "is not supported here" if worst["type"] == "extra_forbidden" else worst["msg"]
        raise BadRequest(f"{place}: {what}", param=place) from error


def _is_place(part: str | int) -> bool:
    """Whether a part of an error's location is a field or index, not pydantic's name for one choice of a union."""
    return isinstance(part, int) or (part.isidentifier() and part != "str")


def completion(request: ChatRequest, replies: Sequence[Reply], *, identifier: str, created: int) -> dict[str, Any]:
    """The whole answer.

    Args:
        request: What was asked.
        replies: What the model said.
        identifier: ``chatcmpl-…``.
        created: Seconds since 1970.
    """
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": reply.text, "refusal": None},
            "finish_reason": reply.finish,
            "logprobs": _logprobs(reply) if request.logprobs else None,
        }
        for i, reply in enumerate(replies)
    ]
    head = {"id": identifier, "object": "chat.completion", "created": created, "model": request.model}
    return head | {"choices": choices, "usage": _usage(replies)}


def completion_events(
    request: ChatRequest, replies: Sequence[Reply], *, identifier: str, created: int
) -> Iterator[str]:
    """The answer as server-sent events: per choice its text and its end, then the usage if asked for.

    Models here answer whole, so a choice's text is one event, and an error still has its own status.
    """
    head: dict[str, Any] = {
        "id": identifier,
        "object": "chat.completion.chunk",
        "created": created,
        "model": request.model,
    }
    if request.stream_options.include_usage:
        head["usage"] = None
    for i, reply in enumerate(replies):
        text = {
            "index": i,
            "delta": {"role": "assistant", "content": reply.text},
            "finish_reason": None,
            "logprobs": _logprobs(reply) if request.logprobs else None,
        }
        end = {"index": i, "delta": {}, "finish_reason": reply.finish, "logprobs": None}
        yield _event(head | {"choices": [text]})
        yield _event(head | {"choices": [end]})
    if request.stream_options.include_usage:
        yield _event(head | {"choices": [], "usage": _usage(replies)})
    yield "data: [DONE]\n\n"


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI clients expect it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _usage(replies: Sequence[Reply]) -> dict[str, int]:
    read = sum(r.usage.prompt_tokens for r in replies)
    written = sum(r.usage.completion_tokens for r in replies)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _logprobs(reply: Reply) -> dict[str, Any]:
    # Replies carry numbers without the tokens they belong to; an empty token is what the API allows for that.
    tokens = [{"token": "", "bytes": None, "logprob": value, "top_logprobs": []} for value in reply.logprobs or ()]
    return {"content": tokens, "refusal": None}


def _joined(content: str | list[_TextPart]) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in content)
