"""Preference records to token ids: one shared prompt and two branches, or the reason why not.

The prompt of a pair is what the prompt, prompt + chosen and prompt + rejected have in common *as tokens*:
where a tokenizer would merge the end of the prompt with the start of a completion, the boundary moves
back, so that the ids are exactly those of the joined text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field

from plait.core.component import Component
from plait.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Text = str | Sequence[Mapping[str, str]]
"""Plain text, or messages with ``role`` and ``content``."""


class TokenLimits(Component):
    """How long a pair may be, in tokens, applied to each branch before the two are joined."""

    max_prompt: int = Field(default=512, ge=1)
    """A pair with a longer prompt is set aside: cutting a prompt would change what was asked."""
    max_completion: int = Field(default=512, ge=1)
    """A longer completion is cut at its end, and counted."""
    append_eos: bool = True
    """End each plain-text completion with the end-of-sequence token, so that stopping is learnt too; wrong
    for completions that were themselves cut off. Conversations end as their chat template says."""


@dataclass(frozen=True)
class TokenPair:
    """One pair as token ids; prompt and both completions hold at least one token each."""

    id: str
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

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
    """The pairs that can be used, those that cannot, and how many completions were cut."""

    pairs: list[TokenPair] = field(default_factory=list[TokenPair])
    problems: list[Problem] = field(default_factory=list[Problem])
    completions_cut: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were set aside for each reason."""
        return dict(sorted(Counter(p.reason for p in self.problems).items()))


def tokenise_pairs(
    records: Iterable[Mapping[str, Any]], *, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits | None = None
) -> TokenisedPairs:
    """Tokenise records with ``id``, ``prompt``, ``chosen`` and ``rejected``.

    Args:
        records: Plain text in all three, or lists of messages in all three.
        tokenizer: Of the model that will be trained.
        limits: The longest prompt and completion.

    Raises:
        ModelError: Records are conversations, and the tokenizer has no chat template.
    """
    limits = limits or TokenLimits()
    result = TokenisedPairs()
    for record in records:
        made = _one(record, tokenizer=tokenizer, limits=limits)
        if isinstance(made, Problem):
            result.problems.append(made)
        else:
            pair, cut = made
            result.pairs.append(pair)
            result.completions_cut += cut
    return result


def _one(
    record: Mapping[str, Any], *, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits
) -> tuple[TokenPair, int] | Problem:
    """The pair and how many of its completions were cut, or what is wrong with it."""
    name = str(record["id"])
    texts = [record[key] for key in ("prompt", "chosen", "rejected")]
    problem = _wrong_texts(*texts)
    if problem:
        return Problem(name, problem)
    if isinstance(texts[0], str):
        prompt, chosen, rejected = _encode_plain(tokenizer, *texts, append_eos=limits.append_eos)
    else:
        prompt, chosen, rejected = _encode_conversation(tokenizer, *texts)
    shared = _common_length(prompt, chosen, rejected)
    if shared == 0:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if start is None:
            return Problem(name, "no shared prompt token, and the tokenizer has no token to start with")
        chosen, rejected, shared = [_token(start), *chosen], [_token(start), *rejected], 1
    if shared > limits.max_prompt:
        return Problem(name, "prompt longer than max_prompt")
    branches = [ids[shared : shared + limits.max_completion] for ids in (chosen, rejected)]
    if not branches[0] or not branches[1]:
        return Problem(name, "empty completion")
    if branches[0] == branches[1]:
        return Problem(name, "chosen and rejected are the same tokens")
    cut = sum(len(ids) - shared > limits.max_completion for ids in (chosen, rejected))
    return TokenPair(name, tuple(chosen[:shared]), tuple(branches[0]), tuple(branches[1])), cut


def _wrong_texts(prompt: Text | None, chosen: Text | None, rejected: Text | None) -> str:
    """What can be said before tokenising; empty if nothing is wrong."""
    if prompt is None or chosen is None or rejected is None:
        return "missing text"
    if not isinstance(chosen, type(prompt)) or not isinstance(rejected, type(prompt)):
        return "prompt, chosen and rejected are not of one kind"
    if not _said(chosen) or not _said(rejected):
        return "empty completion"
    if chosen == rejected:
        return "chosen and rejected are the same text"
    return ""


def _said(text: Text) -> bool:
    return bool(text) if isinstance(text, str) else any(m.get("content") for m in text)


def _encode_plain(
    tokenizer: PreTrainedTokenizerBase, prompt: str, chosen: str, rejected: str, *, append_eos: bool
) -> tuple[list[int], list[int], list[int]]:
    asked, good, bad = (list(tokenizer.encode(text)) for text in (prompt, prompt + chosen, prompt + rejected))
    if append_eos and tokenizer.eos_token_id is not None:
        end = _token(tokenizer.eos_token_id)
        for ids in (good, bad):
            if not ids or ids[-1] != end:
                ids.append(end)
    return asked, good, bad


def _encode_conversation(
    tokenizer: PreTrainedTokenizerBase, prompt: Text, chosen: Text, rejected: Text
) -> tuple[list[int], list[int], list[int]]:
    if not tokenizer.chat_template:
        raise ModelError(
            "the pairs are conversations, but the tokenizer has no chat template",
            code="model.no-chat-template",
            hint="use an instruct model, or write the pairs as plain text",
        )

    def encode(messages: Sequence[Any], *, ask: bool) -> list[int]:
        turns = [dict(m) for m in messages]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)
        return list(tokenizer.encode(str(text), add_special_tokens=False))

    return (
        encode(list(prompt), ask=True),
        encode([*prompt, *chosen], ask=False),
        encode([*prompt, *rejected], ask=False),
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
