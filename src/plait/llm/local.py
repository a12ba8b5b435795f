"""A transformers model in this process as a chat model; concurrent calls are merged into batches.

model = LocalModel(adapter="runs/…/adapter").open()
replies = await asyncio.gather(*(model.chat(m) for m in conversations))     # a few batches
model.counts                                                                # calls, batches, prefill tokens saved
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from plait.core.hashing import hash_path
from plait.core.seeds import Seeds
from plait.errors import UsageError
from plait.llm.base import ChatComponent, JSONSchema, Reply, Usage, check_call
from plait.llm.batching import BatchCounts, Batcher, Group, Row
from plait.llm.schemas import check_reply, check_schema
from plait.llm.usage import UsageMeter
from plait.records import Message

if TYPE_CHECKING:
    from plait.models import Completion
    from plait.models.language_model import LanguageModel

_SHORTEST_SHARED = 8  # a shorter common beginning is read with each row
_RENDERINGS_KEPT = 4096  # a population often sends one prompt thousands of times


class LocalModel(ChatComponent):
    """A causal language model of this machine.

    Example:
        >>> LocalModel(max_batch=8).model
        'smollm2-135m'
    """

    model: str = "smollm2-135m"
    """A known name, a hub id, a folder, or a .gguf file."""

    adapter: Path | None = None
    """Folder of a LoRA adapter to put on the model."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights."""

    device: str = "cpu"
    """Where the model runs: ``cpu``, ``cuda``, … or ``auto``."""

    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of probability that sampling draws from."""

    max_batch: int = Field(default=32, ge=1)
    """Most completions computed together."""

    max_batch_tokens: int = Field(default=32_768, ge=1)
    """Most tokens of a batch, padding and completions included; bounds its memory."""

    window_ms: float = Field(default=10.0, ge=0)
    """How long a call waits for others to be computed with, in milliseconds."""

    remember: int = Field(default=4096, ge=0)
    """How many computed completions are kept for equal calls that come later."""

    def identity(self) -> str:
        """The weights by name, or by content where the name is a path; and what shapes the sampling."""
        from plait.models import resolve

        at_path = Path(self.model).exists()
        weights = resolve(self.model).fingerprint() if at_path else self.model
        adapter = hash_path(self.adapter) if self.adapter is not None else None
        shaping = {"weights": weights, "adapter": adapter, "top_p": self.top_p, "dtype": self.dtype}
        return f"local{json.dumps(shaping, sort_keys=True)}"

    def open(self) -> LocalChat:
        """Load the weights.

        Raises:
            ModelError: The model or adapter cannot be found or read.
            MissingExtra: torch or transformers is not installed.
        """
        from plait.models import load, load_adapter

        language_model = load(self.model, dtype=self.dtype, device=self.device)
        if self.adapter is not None:
            language_model = load_adapter(language_model, self.adapter)
        return LocalChat(self, language_model)


class LocalChat:
    """An opened local model. A reply depends on its own call alone, never on what else was in the batch.

    Args:
        settings: How to batch and sample.
        language_model: The loaded model; used by the batcher's thread alone until `aclose`.
    """

    def __init__(self, settings: LocalModel, language_model: LanguageModel) -> None:
        self.settings = settings
        self.language_model = language_model
        self.meter = UsageMeter()
        self._prompt = _prompt_encoder(language_model)
        self._batcher: Batcher[Completion] = Batcher(
            self._compute,
            max_batch=settings.max_batch,
            max_batch_tokens=settings.max_batch_tokens,
            window_s=settings.window_ms / 1000,
            remember=settings.remember,
            prefill_tokens=_prefill_tokens,
        )

    @property
    def counts(self) -> BatchCounts:
        """Calls, completions computed, batches, and prompt tokens saved."""
        return self._batcher.counts

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
        """See `plait.llm.base.ChatModel.chat`. Without a seed, sampling differs from call to call.

        Raises:
            UsageError: An argument is out of range, or the conversation is longer than the model's context.
            LLMError: The model failed, or was closed.
        """
        check_call(messages, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)
        check_schema(schema)
        if stop and schema is not None:
            raise UsageError(
                "a stop string could cut the JSON that the schema asks for",
                code="llm.bad-call",
                hint="give one of the two",
            )
        group = Group(
            temperature=float(temperature),
            max_tokens=max_tokens,
            stop=tuple(stop),
            schema=None if schema is None else json.dumps(schema),
        )
        turns = tuple((m["role"], m["content"]) for m in messages)
        seeds = _row_seeds(seed, n) if temperature > 0 else [0] * n
        prompt_tokens = 0

        def lay_out() -> list[Row]:
            nonlocal prompt_tokens
            prompt = self._prompt(turns)
            prompt_tokens = len(prompt)
            self._check_length(prompt_tokens)
            return [Row(group, prompt, s) for s in seeds]

        completions = await asyncio.wrap_future(self._batcher.submit(lay_out))
        replies = [
            Reply(
                completion.text,
                Usage(prompt_tokens if i == 0 else 0, len(completion.token_ids)),
                logprobs=tuple(completion.logprobs),
                finish=completion.finish,
            )
            for i, completion in enumerate(completions)
        ]
        for reply in replies:
            check_reply(reply, schema, who=self.settings.model)
        self.meter.count(requests=1)
        self.meter.answered(replies)
        return replies

    async def aclose(self) -> None:
        """Wait for the running batch, fail what waits, and end the thread."""
        await self._batcher.aclose()

    def _compute(self, rows: Sequence[Row]) -> list[Completion]:
        from plait.models import generate

        group = rows[0].group
        return generate(
            self.language_model,
            [row.prompt for row in rows],
            max_new_tokens=group.max_tokens,
            temperature=group.temperature,
            top_p=self.settings.top_p,
            seeds=[row.seed for row in rows],
            stop=group.stop,
            schema=None if group.schema is None else json.loads(group.schema),
            batch_size=len(rows),
        )

    def _check_length(self, prompt_tokens: int) -> None:
        """Refuse one conversation here, so that it does not fail the batch it would be in."""
        context = getattr(self.language_model.model.config, "max_position_embeddings", None)
        if context is not None and prompt_tokens >= context:
            raise UsageError(
                f"the conversation has {prompt_tokens} tokens and {self.settings.model} reads {context} at most",
                code="llm.too-long",
                hint="shorten the conversation",
            )


def _prompt_encoder(
    language_model: LanguageModel,
) -> Callable[[tuple[tuple[str, str], ...]], tuple[int, ...]]:
    @lru_cache(maxsize=_RENDERINGS_KEPT)
    def encode(turns: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
        messages: list[Message] = [{"role": role, "content": content} for role, content in turns]
        return tuple(language_model.encode(language_model.render(messages)))

    return encode


def _row_seeds(seed: int | None, n: int) -> list[int]:
    """A seed per reply; the first ones do not change when more replies are asked for."""
    root = Seeds(secrets.randbits(63) if seed is None else seed)
    return [root.child("reply", i).integer() for i in range(n)]


def _prefill_tokens(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens `plait.models.generate` reads for a batch: equal prompts once, and a long common beginning once."""
    distinct = set(prompts)
    if len(distinct) == 1:
        return len(prompts[0])
    first, last = min(distinct), max(distinct)  # of all pairs, these two agree least
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    common = min(common, *(len(p) - 1 for p in distinct))
    if common < _SHORTEST_SHARED:
        common = 0
    return common + sum(len(p) - common for p in distinct)
