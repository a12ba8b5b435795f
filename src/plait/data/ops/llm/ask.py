"""What every operation that asks a language model shares: the model, the question, the answer as JSON, the retries.

    class PolitenessFilter(AsksEndpoint, RangeFilter):
        '''Keeps polite texts.'''

        stat = "politeness"

        def value(self, batch: Batch) -> np.ndarray:
            questions = [Question("Rate how polite the text is.", text) for text in batch.text(self.text_key)]
            answers = self.ask(questions, {"score": {"type": "integer", "minimum": 1, "maximum": 5}})
            return np.array([a.values["score"] if a.values else np.nan for a in answers])

Questions of a batch are asked at once, 256 at most; the chat model merges them into batches or lets fewer on their way.
An answer that cannot be used is asked for again, with the reason, ``try_num`` times; after that `Answer.status` says
what was wrong with it. Nothing is replaced by an empty text in silence.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from plait.data.op import Op
from plait.data.ops.filters.tokens import check_language_model
from plait.data.ops.llm.asking import (
    NOT_ASKED,
    TEXT,
    TEXTS,
    Answer,
    Check,
    Question,
    Shape,
    Task,
    ask_all,
    call_options,
    read_reply,
    schema_of,
)
from plait.data.ops.llm.line import line_to
from plait.errors import UsageError, nearest
from plait.llm import ChatComponent, ChatSetting, LocalModel, chat_component

_CALL_OPTIONS = ("temperature", "max_tokens", "max_new_tokens", "stop", "seed")


__all__ = [
    "NOT_ASKED",
    "TEXT",
    "TEXTS",
    "Answer",
    "Asks",
    "AsksEither",
    "AsksEndpoint",
    "AsksLocal",
    "Check",
    "Question",
    "Shape",
    "endpoint_of",
    "fill",
    "schema_of",
]


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

    def ready(self) -> None:
        """Looks for the model: whether a server is named, or the model is on this machine."""
        chat = self.chat()
        if isinstance(chat, LocalModel):
            check_language_model(chat.model, setting="model")

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
            LLMError: No question got any answer, or none can: the limits of the model are reached, a recording misses a
                call, the key is refused, the server is gone.
        """
        chat = self.chat()
        if not any(questions):
            return [NOT_ASKED] * len(questions)
        line = line_to(chat)
        task = Task(
            tries=self.try_num,
            schema=None if pattern else schema_of(shape),
            read=lambda reply: read_reply(reply, shape, pattern, check),
            options=call_options(self.sampling()),
        )
        answers, failure = line.run(ask_all(line.model, questions, task))
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
