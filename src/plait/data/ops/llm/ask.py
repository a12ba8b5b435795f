"""What every operation that asks a language model shares: the model, the question, the answer as JSON, the retries.

    class PolitenessFilter(AsksEndpoint, RangeFilter):
        '''Keeps polite texts.'''

        stat = "politeness"

        def value(self, batch: Batch) -> np.ndarray:
            questions = [Question("Rate how polite the text is.", text) for text in batch.text(self.text_key)]
            answers = self.ask(questions, {"score": {"type": "integer", "minimum": 1, "maximum": 5}})
            return np.array([a.values["score"] if a.values else np.nan for a in answers])

Questions of a batch are asked at once; the chat model merges them into batches or limits how many are on their way.
An answer that cannot be used is asked for again, with the reason, ``try_num`` times; after that `Answer.status` says
what was wrong with it. Nothing is replaced by an empty text in silence.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from plait.data.op import Op
from plait.data.ops.llm.line import line_to
from plait.errors import LimitReached, LLMError, ReplayMiss, UsageError, nearest
from plait.llm import ChatComponent, ChatModel, ChatSetting, JSONSchema, Reply, chat_component
from plait.records import Message

Shape = Mapping[str, Mapping[str, Any]]
"""The fields of an answer: JSON Schema by name. All are required."""

TEXT: Mapping[str, Any] = {"type": "string"}
"""Schema of a text."""
TEXTS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}
"""Schema of a list of texts."""

_MAX_TOKENS = 1024
_CALL_OPTIONS = ("temperature", "max_tokens", "max_new_tokens", "stop", "seed")


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


class Asks(Op):
    """Base of operations that ask a chat model."""

    cost = "llm"
    needs = frozenset({"model"})
    deterministic: ClassVar[bool] = False

    model: ChatSetting | None = None
    """The chat model: a catalog name (``local``) or ``{use: endpoint, base_url: …, model: …}``. Goes before the
    settings that name a model as in Data-Juicer."""
    try_num: PositiveInt = 3
    """How often a question is asked before its row goes without an answer."""
    model_params: Mapping[str, Any] | None = None
    """How to reach the model named by the other settings: ``base_url``, and ``timeout`` in seconds; or how to run it on
    this machine: the settings of ``local`` (``device``, ``dtype``, …)."""
    sampling_params: Mapping[str, Any] | None = None
    """``temperature`` (0 by default), ``max_tokens`` (1024 by default), ``stop``, ``seed``; what else is given goes
    into the request to an endpoint (``top_p``, …)."""

    @abstractmethod
    def chat(self) -> ChatComponent:
        """The chat model to ask.

        Raises:
            UsageError: The settings name none.
        """

    def sampling(self) -> Mapping[str, Any]:
        """How answers are drawn; see ``sampling_params``."""
        return self.sampling_params or {}

    def ask(
        self,
        questions: Sequence[Question | None],
        shape: Shape,
        *,
        pattern: str | None = None,
        check: Check | None = None,
    ) -> list[Answer]:
        """Ask all questions at once.

        Args:
            questions: One per row; ``None`` where there is nothing to ask.
            shape: The fields of an answer.
            pattern: Read free text by a regular expression (Rust syntax) whose groups are the fields in their order,
                instead of asking for JSON.
            check: Refuses answers of the right shape.

        Raises:
            LLMError: No question got any answer; the limits of the model are reached; a recording misses a call.
        """
        chat = self.chat()
        if not any(questions):
            return [NOT_ASKED] * len(questions)
        line = line_to(chat)
        task = _Task(
            tries=self.try_num,
            schema=None if pattern else schema_of(shape),
            read=lambda reply: _read(reply, shape, pattern, check),
            options=_call_options(self.sampling()),
        )
        answers, failure = line.run(_ask_all(line.model, questions, task))
        if failure is not None:
            raise failure
        return answers


class AsksEndpoint(Asks):
    """Base of operations that name a model behind an endpoint."""

    api_model: str = "gpt-4o"
    """Name of the model on the server."""
    api_endpoint: str | None = None
    """Address of an OpenAI-compatible server, such as ``http://127.0.0.1:8000/v1``."""
    response_path: Literal["choices.0.message.content"] | None = None
    """Where the answer stands in the response: always there."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key; no key is sent without it."""

    def chat(self) -> ChatComponent:
        """The model, or the endpoint."""
        if self.model is not None:
            return _without_extras(self.model, self.sampling())
        return endpoint_of(
            self.api_model, self.api_endpoint, self.api_key_env, self.model_params or {}, self.sampling()
        )


class AsksLocal(Asks):
    """Base of operations that name a model to be run on this machine."""

    hf_model: str = "Qwen/Qwen2.5-7B-Instruct"
    """A known name, a folder, or a Hugging Face id whose files are on this machine."""
    enable_vllm: bool = False
    """Accepted; the model runs in transformers. For vLLM's speed serve the model with it and set ``model`` to its
    endpoint."""

    def chat(self) -> ChatComponent:
        """The model, or the local one by name."""
        return _local_or(self.model, self.hf_model, self.model_params or {}, self.sampling())


class AsksEither(Asks):
    """Base of operations that name a model behind an endpoint or on this machine."""

    api_or_hf_model: str = "Qwen/Qwen2.5-7B-Instruct"
    """Name of the model on the server, or a model as in ``hf_model`` of other operations."""
    is_hf_model: bool = True
    """Whether the model runs on this machine."""
    enable_vllm: bool = False
    """Accepted as ``is_hf_model``; the model runs in transformers. For vLLM's speed serve the model with it and set
    ``model`` to its endpoint."""
    api_endpoint: str | None = None
    """Address of an OpenAI-compatible server."""
    response_path: Literal["choices.0.message.content"] | None = None
    """Where the answer stands in the response: always there."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key; no key is sent without it."""

    def chat(self) -> ChatComponent:
        """The model, the local one by name, or the endpoint."""
        if self.model is not None or self.is_hf_model or self.enable_vllm:
            return _local_or(self.model, self.api_or_hf_model, self.model_params or {}, self.sampling())
        return endpoint_of(
            self.api_or_hf_model, self.api_endpoint, self.api_key_env, self.model_params or {}, self.sampling()
        )


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


def fill(template: str, values: Mapping[str, Any], *positional: Any) -> str:
    """A template with its places filled: ``{name}``, and ``{}`` in order.

    Raises:
        UsageError: A place has no value.

    Example:
        >>> fill("{text}? {}", {"text": "{a}"}, "yes")
        '{a}? yes'
    """
    try:
        return template.format(*positional, **values)
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"the template {template[:80]!r} cannot be filled: {error}",
            code="llm.bad-template",
            hint=nearest(str(error).strip("'"), values),
        ) from error


def endpoint_of(
    name: str,
    address: str | None,
    key_env: str | None,
    model_params: Mapping[str, Any],
    sampling_params: Mapping[str, Any],
) -> ChatComponent:
    """The endpoint that Data-Juicer's settings name.

    Raises:
        UsageError: They name no server, or hold what does not belong in a recipe.

    Example:
        >>> endpoint_of("m", "http://127.0.0.1:8000/v1/chat/completions", None, {}, {"top_p": 0.9}).base_url
        'http://127.0.0.1:8000/v1'
    """
    from plait.llm import Endpoint

    unknown = set(model_params) - {"base_url", "timeout"}
    if unknown:
        advice = (
            "name its variable in api_key_env" if "api_key" in unknown else "use model: {use: endpoint, …} for more"
        )
        raise UsageError(f"model_params cannot hold {min(unknown)}", code="llm.bad-settings", hint=advice)
    base = str(model_params.get("base_url", "")).rstrip("/")
    path = (address or "").removesuffix("/").removesuffix("/chat/completions")
    address = path if path.startswith(("http://", "https://")) else base + path
    if not address:
        raise UsageError(
            f'no server is named that answers as "{name}"',
            code="llm.no-model",
            hint="set model: local, or api_endpoint: http://…/v1 and api_key_env",
        )
    rest = {key: value for key, value in sampling_params.items() if key not in _CALL_OPTIONS}
    timeout_s = float(model_params.get("timeout", 120.0))
    return Endpoint(base_url=address, model=name, api_key_env=key_env, extra_body=rest, timeout_s=timeout_s)


def _local_or(
    model: ChatComponent | None, name: str, model_params: Mapping[str, Any], sampling_params: Mapping[str, Any]
) -> ChatComponent:
    if model is not None:
        return _without_extras(model, sampling_params)
    drawn = {key: value for key, value in sampling_params.items() if key == "top_p" and value is not None}
    rest = {key: value for key, value in sampling_params.items() if key != "top_p"}
    return _without_extras(chat_component({"use": "local", "model": name, **model_params, **drawn}), rest)


def _without_extras(model: ChatComponent, sampling_params: Mapping[str, Any]) -> ChatComponent:
    rest = set(sampling_params) - set(_CALL_OPTIONS)
    if rest:
        raise UsageError(
            f"sampling_params cannot hold {min(rest)} for a {type(model).__name__}",
            code="llm.bad-settings",
            hint=f"known: {', '.join(_CALL_OPTIONS)}; set others on the model",
        )
    return model


@dataclass(frozen=True)
class _Options:
    temperature: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int | None


@dataclass(frozen=True)
class _Task:
    tries: int
    schema: JSONSchema | None
    read: Callable[[Reply], Mapping[str, Any]]
    options: _Options


class _Unusable(Exception):
    """An answer that is not what was asked for; its text says why."""


def _call_options(params: Mapping[str, Any]) -> _Options:
    stop = params.get("stop") or ()
    return _Options(
        temperature=float(params.get("temperature", 0.0)),
        max_tokens=int(params.get("max_tokens", params.get("max_new_tokens", _MAX_TOKENS))),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=params.get("seed"),
    )


async def _ask_all(
    model: ChatModel, questions: Sequence[Question | None], task: _Task
) -> tuple[list[Answer], LLMError | None]:
    """All answers; and the error to raise if the model gave none at all, as when no server is there."""
    asked = [(place, question) for place, question in enumerate(questions) if question is not None]
    results = await asyncio.gather(*(_ask_one(model, question, task) for _, question in asked))
    answers = [NOT_ASKED] * len(questions)
    for (place, _), (answer, _) in zip(asked, results, strict=True):
        answers[place] = answer
    failures = [failure for _, failure in results if failure is not None]
    return answers, failures[0] if len(failures) == len(results) else None


async def _ask_one(model: ChatModel, question: Question, task: _Task) -> tuple[Answer, LLMError | None]:
    status, failure, read, written, money = "", None, 0, 0, 0.0
    user = question.user
    system = question.system
    if task.schema is not None:
        system = f"{system}\n\nAnswer with one JSON object of this schema:\n{json.dumps(task.schema)}".strip()
    for _ in range(task.tries):
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


def _read(reply: Reply, shape: Shape, pattern: str | None, check: Check | None) -> Mapping[str, Any]:
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
