"""Preference records to token ids: one shared prompt and two branches, or the reason why not.

The prompt of a pair is what the prompt, prompt + chosen and prompt + rejected have in common *as tokens*: where a
tokenizer would merge the end of the prompt with the start of a completion, the boundary moves back, so that the ids
are exactly those of the joined text. The ids are those of TRL 1.16 for the same records (`plait.align.formats`), with
one exception: a pair without any common token gets a token to start with, since nothing predicts a first token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from plait.align.formats import PreferenceTexts, read_record
from plait.core.component import Component
from plait.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NEEDED = ("chosen", "rejected")  # a prompt may be implicit


class TokenLimits(Component):
    """How long a pair may be, in tokens, applied to each branch before the two are joined.

    TRL's ``max_length=1024`` is ``TokenLimits(max_prompt=1024, max_completion=1024, max_length=1024)``.
    """

    max_prompt: int = Field(default=512, ge=1)
    """The longest prompt."""
    long_prompt: Literal["set_aside", "keep_end", "keep_start"] = "set_aside"
    """What becomes of a pair with a longer prompt: it is set aside, since cutting a prompt changes what was asked; or
    the end or the start of the prompt is kept, and the cut counted. The official codes keep the end on dialogues."""
    max_completion: int = Field(default=512, ge=1)
    """A longer completion is cut at its end, and counted."""
    max_length: int | None = Field(default=None, ge=2)
    """The longest prompt and completion together; the completion is cut at its end, and counted. A pair whose prompt
    leaves no room is set aside."""
    append_eos: bool = True
    """End each plain-text completion with the end-of-sequence token, so that stopping is learnt too; wrong
    for completions that were themselves cut off. Conversations end as their chat template says."""


@dataclass(frozen=True)
class TokenPair:
    """One pair as token ids; prompt and both completions hold at least one token each.

    Args:
        id: Names the pair in messages.
        prompt: What both completions follow.
        chosen: The preferred completion.
        rejected: The other completion.
        weight: How much the pair counts in a mean, relative to the others.
        flip_prior: Probability that chosen and rejected are the wrong way round; for the losses that read it.
        group: Whom or what it comes from, for the reduction that counts groups alike.
    """

    id: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    weight: float = 1.0
    flip_prior: float | None = None
    group: str | None = None

    @property
    def length(self) -> int:
        """Tokens with the prompt counted once."""
        return len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def longest_branch(self) -> int:
        """Tokens of the prompt and the longer completion."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass(frozen=True)
class Problem:
    """A record that cannot be a pair. ``reason`` holds no values of the record, so that reasons can be counted."""

    id: str
    reason: str


@dataclass
class TokenisedPairs:
    """The pairs that can be used, those that cannot, and how many were changed.

    Args:
        pairs: In the order of their records.
        problems: Records set aside.
        prompts_cut: Prompts cut to ``max_prompt``.
        completions_cut: Completions cut to ``max_completion`` or ``max_length``.
        boundaries_moved: Pairs whose prompt ends earlier than its own tokens do, because a tokenizer merges its end
            with a completion or a chat template writes it differently there: the model is trained on another context
            than it meets when it is asked. End prompts on a token boundary to avoid it.
    """

    pairs: list[TokenPair] = field(default_factory=list[TokenPair])
    problems: list[Problem] = field(default_factory=list[Problem])
    prompts_cut: int = 0
    completions_cut: int = 0
    boundaries_moved: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were set aside for each reason."""
        return dict(sorted(Counter(p.reason for p in self.problems).items()))


def tokenise_pairs(
    records: Iterable[Mapping[str, Any]], *, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits | None = None
) -> TokenisedPairs:
    """Tokenise records in TRL's formats (`plait.align.formats`).

    Args:
        records: Dicts, or a `datasets.Dataset`. An ``id`` names a record in messages; without one it is its number.
        tokenizer: Of the model that will be trained.
        limits: The longest prompt and completion.

    Raises:
        DataError: No record has ``chosen``, or none has ``rejected``.
        ModelError: Records are conversations, and the tokenizer has no chat template.
    """
    limits = limits or TokenLimits()
    result = TokenisedPairs()
    columns: dict[str, None] = {}
    for number, record in enumerate(records):
        columns |= dict.fromkeys(record)
        given = record.get("id")
        name = str(number) if given is None else str(given)
        texts = read_record(record)
        made = texts if isinstance(texts, str) else _token_pair(name, texts, tokenizer=tokenizer, limits=limits)
        if isinstance(made, str):
            result.problems.append(Problem(name, made))
        else:
            result.pairs.append(made.pair)
            result.prompts_cut += made.prompts_cut
            result.completions_cut += made.completions_cut
            result.boundaries_moved += made.boundaries_moved
    missing = [column for column in _NEEDED if column not in columns]
    if columns and missing:
        raise DataError(
            f"no record has {' or '.join(missing)}; columns: {', '.join(columns)}",
            code="align.missing-columns",
            hint="preference pairs have prompt, chosen and rejected, or chosen and rejected that begin with the prompt",
        )
    return result


@dataclass(frozen=True)
class _Made:
    pair: TokenPair
    prompts_cut: int
    completions_cut: int
    boundaries_moved: int


def _token_pair(
    name: str, texts: PreferenceTexts, *, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits
) -> _Made | str:
    """The pair and what was cut of it, or what is wrong with it."""
    encode = _encode_conversation if texts.conversational else _encode_plain
    asked, good, bad = encode(tokenizer, texts, append_eos=limits.append_eos)
    shared = _common_length(asked, good, bad)
    prompt, branches = good[:shared], [good[shared:], bad[shared:]]
    if not prompt:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            return "no shared prompt token, and the tokenizer has no token to start with"
        prompt = [_token(start)]
    too_long = len(prompt) > limits.max_prompt
    if too_long and limits.long_prompt == "set_aside":
        return "prompt longer than max_prompt"
    if too_long:
        prompt = prompt[-limits.max_prompt :] if limits.long_prompt == "keep_end" else prompt[: limits.max_prompt]
    room = limits.max_completion
    if limits.max_length is not None:
        room = min(room, limits.max_length - len(prompt))
    if room <= 0:
        return "prompt fills max_length"
    chosen, rejected = (tuple(ids[:room]) for ids in branches)
    if not chosen or not rejected:
        return "empty completion"
    if chosen == rejected:
        return "chosen and rejected are the same tokens"
    pair = TokenPair(name, tuple(prompt), chosen, rejected, texts.weight, texts.flip_prior, texts.group)
    return _Made(
        pair,
        prompts_cut=int(too_long),
        completions_cut=sum(len(ids) > room for ids in branches),
        boundaries_moved=int(shared < len(asked)),
    )


def _encode_plain(
    tokenizer: PreTrainedTokenizerBase, texts: PreferenceTexts, *, append_eos: bool
) -> tuple[list[int], list[int], list[int]]:
    """Ids of prompt, prompt + chosen and prompt + rejected, each ended once."""
    prompt, chosen, rejected = str(texts.prompt), str(texts.chosen), str(texts.rejected)
    asked = list(tokenizer.encode(prompt))
    if not append_eos or tokenizer.eos_token is None:
        return asked, list(tokenizer.encode(prompt + chosen)), list(tokenizer.encode(prompt + rejected))
    end = str(tokenizer.eos_token)
    good, bad = (list(tokenizer.encode(prompt + text.removesuffix(end) + end)) for text in (chosen, rejected))
    ends_by_itself = asked[-1:] == [tokenizer.eos_token_id] and not prompt.endswith(end)
    return (asked[:-1], good[:-1], bad[:-1]) if ends_by_itself else (asked, good, bad)


def _encode_conversation(
    tokenizer: PreTrainedTokenizerBase, texts: PreferenceTexts, *, append_eos: bool
) -> tuple[list[int], list[int], list[int]]:
    """The same of conversations, as the chat template writes them."""
    del append_eos
    if not tokenizer.chat_template:
        raise ModelError(
            "the pairs are conversations, but the tokenizer has no chat template",
            code="model.no-chat-template",
            hint="use an instruct model, or write the pairs as plain text",
        )

    def encode(messages: Sequence[Any], *, ask: bool) -> list[int]:
        encoded: Any = tokenizer.apply_chat_template(
            list(messages), tokenize=True, return_dict=True, add_generation_prompt=ask, **texts.template
        )
        return list(encoded["input_ids"])

    prompt = list(texts.prompt)
    return (
        encode(prompt, ask=True),
        encode([*prompt, *texts.chosen], ask=False),
        encode([*prompt, *texts.rejected], ask=False),
    )


def _token(special: Any) -> int:
    """A special token's id; the type stubs allow lists, which no causal model has."""
    return int(special)


def _common_length(*sequences: Sequence[int]) -> int:
    """How many leading tokens all share."""
    shared = 0
    for column in zip(*sequences, strict=False):
        if any(token != column[0] for token in column):
            break
        shared += 1
    return shared
