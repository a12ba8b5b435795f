"""Completions of token prompts, many at a time.

The loop below is our own because a batch must be an implementation detail: a row draws from its own stream, sees no
padding, leaves when it is finished, and gives the same tokens alone or among others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from plait.errors import ModelError, UsageError
from plait.models.batch import Batch, can_pad
from plait.models.constrain import Constraint
from plait.models.language_model import LanguageModel
from plait.models.sampling import Draws, choose
from plait.models.stops import StopStrings

_TOKENS_AT_ONCE = 32_768
"""Most prompt tokens read in one forward pass; bounds memory when prompts are long."""


@dataclass(frozen=True)
class Completion:
    """One generated continuation.

    Args:
        text: What was said, without special tokens and without the stop string that ended it.
        token_ids: Every token generated, with the end token or the tokens of the stop string.
        logprobs: Log-probability of each of them in nats, under the model's own distribution: before temperature,
            nucleus and schema.
        finish: ``stop`` (the model, a stop string or the schema ended it) or ``length`` (out of tokens; with a schema
            the text is then incomplete JSON).
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


def generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seeds: Sequence[int],
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    schema: Mapping[str, Any] | None = None,
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Continue every prompt.

    Args:
        lm: The model; it is not changed.
        prompts: Token ids, at least one each.
        max_new_tokens: Longest completion, in tokens, with its end token.
        seeds: One per prompt; equal seed and prompt give equal tokens, whatever else is in the call.
        temperature: 0 is greedy.
        top_p: Nucleus probability, in (0, 1]; without effect at temperature 0.
        stop: Strings that end a completion.
        schema: JSON Schema that the text must satisfy.
        batch_size: Rows decoded together; changes speed and memory, not results.
        on_progress: Told (completions finished, completions in all) whenever one finishes.

    Returns:
        One completion per prompt, in order.

    Raises:
        UsageError: An argument makes no sense.
        ModelError: A prompt is longer than the model can read, or the schema cannot be enforced.
    """
    _check(prompts, seeds, max_new_tokens, temperature, top_p, batch_size, stop, schema)
    finished: dict[int, Completion] = {}

    def finish(number: int, completion: Completion) -> None:
        finished[number] = completion
        if on_progress is not None:
            on_progress(len(finished), len(prompts))

    pads = can_pad(lm)
    rules = _Rules(lm, temperature, top_p, StopStrings(lm, stop), schema)
    with torch.no_grad(), evaluating(lm.model):
        for numbers in _batches(prompts, batch_size, pads=pads):
            rows = [
                _Row(i, _room(lm, prompts[i], max_new_tokens), Draws(seeds[i]), rules.constraint()) for i in numbers
            ]
            _decode(Batch(lm, [prompts[i] for i in numbers], pads=pads), rows, rules, finish)
    return [finished[i] for i in range(len(prompts))]


@dataclass
class _Row:
    number: int
    room: int
    draws: Draws
    constraint: Constraint | None
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class _Rules:
    lm: LanguageModel
    temperature: float
    top_p: float
    stops: StopStrings
    schema: Mapping[str, Any] | None

    def constraint(self) -> Constraint | None:
        return None if self.schema is None else self.lm.grammars.start(self.schema)


def _decode(batch: Batch, rows: list[_Row], rules: _Rules, finish: Callable[[int, Completion], None]) -> None:
    """Let every row speak until it is finished; rows leave the batch as they finish."""
    while rows:
        tokens, logprobs = _next_tokens(batch.logits, rows, rules)
        going: list[int] = []
        for place, (row, token, logprob) in enumerate(zip(rows, tokens, logprobs, strict=True)):
            row.token_ids.append(token)
            row.logprobs.append(logprob)
            completion = _completed(row, rules)
            if completion is None:
                going.append(place)
            else:
                finish(row.number, completion)
        if len(going) < len(rows):
            rows = [rows[i] for i in going]
            if rows:
                batch.keep(going)
        if rows:
            batch.append([row.token_ids[-1] for row in rows])


def _next_tokens(logits: torch.Tensor, rows: Sequence[_Row], rules: _Rules) -> tuple[list[int], list[float]]:
    scores = logits
    if rules.schema is not None:
        scores = rules.lm.grammars.allow([row.constraint for row in rows if row.constraint], logits)
    uniforms = torch.tensor([row.draws.next() for row in rows], dtype=torch.float64) if rules.temperature > 0 else None
    tokens = choose(scores, temperature=rules.temperature, top_p=rules.top_p, uniforms=uniforms)
    chosen = logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    return tokens.tolist(), chosen.tolist()


def _completed(row: _Row, rules: _Rules) -> Completion | None:
    """The row's completion if its newest token ended it."""
    lm, token = rules.lm, row.token_ids[-1]
    if row.constraint is not None:
        row.constraint.accept(token)
    if token in lm.eos_ids:
        return _completion(lm.decode(row.token_ids), row, "stop")
    before = rules.stops.cut(row.token_ids)
    if before is not None:
        return _completion(before, row, "stop")
    if len(row.token_ids) < row.room:
        return None
    whole = row.constraint is not None and row.constraint.complete
    return _completion(lm.decode(row.token_ids), row, "stop" if whole else "length")


def _completion(text: str, row: _Row, finish: Literal["stop", "length"]) -> Completion:
    return Completion(text, tuple(row.token_ids), tuple(row.logprobs), finish)


@contextmanager
def evaluating(model: torch.nn.Module) -> Generator[None]:
    """Dropout off inside; back to how it was afterwards. Lets a model speak in the middle of its training."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


def _batches(prompts: Sequence[Sequence[int]], size: int, *, pads: bool) -> Iterator[list[int]]:
    """Prompt numbers to decode together: of similar length, so that padding is little."""
    batch: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        length = len(prompts[i])
        full = len(batch) == size or (batch and (len(batch) + 1) * length > _TOKENS_AT_ONCE)
        if full or (batch and not pads and len(prompts[batch[0]]) != length):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _room(lm: LanguageModel, prompt: Sequence[int], max_new_tokens: int) -> int:
    """How many tokens may be generated: as asked, and no more than the model's context holds."""
    if lm.context is None:
        return max_new_tokens
    if len(prompt) >= lm.context:
        raise ModelError(
            f'a prompt has {len(prompt)} tokens and "{lm.source.name}" reads {lm.context} at most',
            code="model.context-length",
            hint="shorten the prompt",
        )
    return min(max_new_tokens, lm.context - len(prompt))


def _check(
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    batch_size: int,
    stop: Sequence[str],
    schema: Mapping[str, Any] | None,
) -> None:
    wrong = None
    if len(seeds) != len(prompts):
        wrong = f"{len(prompts)} prompts need as many seeds, not {len(seeds)}"
    elif any(not 0 <= seed < 2**128 for seed in seeds):
        wrong = "seeds must be integers from 0 to 2**128 - 1"
    elif any(not p for p in prompts):
        wrong = f"prompt {next(i for i, p in enumerate(prompts) if not p)} is empty"
    elif max_new_tokens < 1 or batch_size < 1:
        wrong = f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must be at least 1"
    elif not temperature >= 0 or not 0 < top_p <= 1:
        wrong = f"temperature={temperature} must be at least 0, and top_p={top_p} in (0, 1]"
    elif isinstance(stop, str) or any(not s for s in stop):
        wrong = f"stop={stop!r} must be a list of strings, none empty"
    elif stop and schema is not None:
        wrong = "a stop string could cut the JSON that the schema asks for; give one of the two"
    if wrong:
        raise UsageError(wrong, code="model.generate-arguments")
