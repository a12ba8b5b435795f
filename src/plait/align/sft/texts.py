"""Records to token ids, and which of the tokens are learnt.

Of a prompt with a completion the completion is learnt, of a conversation what the assistant says in every turn, with
the token that ends it; everything else is read but not learnt. The ids are those of TRL 1.16 for the same records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from plait.align.pairs import Problem
from plait.align.sft.formats import FORMATS, Dialogue, PlainText, read_text
from plait.core.component import Component
from plait.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KNOWN = ("text", "completion", "messages", "chosen")


class TextLimits(Component):
    """How long a text may be, in tokens, and what of it is learnt."""

    max_length: int = Field(default=1024, ge=2)
    """The longest text, prompt included."""
    long: Literal["cut", "split", "set_aside"] = "cut"
    """What becomes of a longer one: it is cut at its end, or set aside, both counted; or a text without a prompt is
    split into pieces that are learnt one by one (others are cut)."""
    learn: Literal["completion", "everything"] = "completion"
    """``completion`` learns completions and what the assistant says; ``everything`` learns prompts as well."""
    append_eos: bool = True
    """End each plain text with the end-of-sequence token, so that stopping is learnt too; wrong for texts that were
    themselves cut off. Conversations end as their chat template says."""


@dataclass(frozen=True)
class TokenText:
    """One text as token ids, of which at least one is learnt.

    Args:
        id: Names the text in messages.
        tokens: All of it, ``[length]``; the first is never learnt, since nothing predicts it.
        learn: Which tokens are learnt, ``[length]``.
        weight: How much each learnt token counts, relative to those of other texts.
    """

    id: str
    tokens: tuple[int, ...]
    learn: tuple[bool, ...]
    weight: float = 1.0

    @property
    def learnt(self) -> int:
        """How many tokens are learnt."""
        return sum(self.learn)


@dataclass
class TokenisedTexts:
    """The texts that can be used, the records that cannot, and how many texts were cut or split."""

    texts: list[TokenText] = field(default_factory=list[TokenText])
    problems: list[Problem] = field(default_factory=list[Problem])
    cut: int = 0
    split: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were set aside for each reason."""
        return dict(sorted(Counter(p.reason for p in self.problems).items()))


@dataclass(frozen=True)
class _Encoded:
    tokens: list[int]
    learn: list[bool]


def tokenise_texts(
    records: Iterable[Mapping[str, Any]], *, tokenizer: PreTrainedTokenizerBase, limits: TextLimits | None = None
) -> TokenisedTexts:
    """Tokenise records in TRL's formats (`plait.align.sft.formats`).

    Args:
        records: Dicts, or a `datasets.Dataset`. An ``id`` names a record in messages; without one it is its number.
        tokenizer: Of the model that will be trained.
        limits: The longest text, and what of it is learnt.

    Raises:
        DataError: The records are in none of the formats.
        ModelError: Records are conversations, and the tokenizer has no chat template.
    """
    limits = limits or TextLimits()
    result = TokenisedTexts()
    columns: dict[str, None] = {}
    for number, record in enumerate(records):
        columns |= dict.fromkeys(record)
        given = record.get("id")
        name = str(number) if given is None else str(given)
        found = read_text(record)
        made = found if isinstance(found, str) else _make(name, found, tokenizer=tokenizer, limits=limits)
        if isinstance(made, str):
            result.problems.append(Problem(name, made))
        else:
            result.texts += made.texts
            result.cut += made.cut
            result.split += made.split
    if columns and not columns.keys() & set(_KNOWN):
        raise DataError(
            f"no record has {', '.join(_KNOWN[:-1])} or {_KNOWN[-1]}; columns: {', '.join(columns)}",
            code="align.missing-columns",
            hint=f"texts to learn from have {FORMATS}",
        )
    return result


@dataclass(frozen=True)
class _Made:
    texts: list[TokenText]
    cut: int
    split: int


def _make(
    name: str, found: PlainText | Dialogue, *, tokenizer: PreTrainedTokenizerBase, limits: TextLimits
) -> _Made | str:
    """The texts of a record, or what is wrong with it."""
    if isinstance(found, PlainText):
        encoded = [_plain(found, tokenizer, append_eos=limits.append_eos)]
    else:
        encoded = _conversation(found, tokenizer)
    long = any(len(each.tokens) > limits.max_length for each in encoded)
    if long and limits.long == "set_aside":
        return "longer than max_length"
    divisible = limits.long == "split" and isinstance(found, PlainText) and not found.prompt
    pieces: list[_Encoded] = []
    for each in encoded:
        whole = _Encoded(each.tokens, [True] * len(each.tokens)) if limits.learn == "everything" else each
        pieces += _pieces(whole, limits.max_length) if divisible else [_first(whole, limits.max_length)]
    texts: list[TokenText] = []
    for n, piece in enumerate(pieces):
        learn = [False, *piece.learn[1:]]
        if any(learn):
            text_id = name if len(pieces) == 1 else f"{name}#{n}"
            texts.append(TokenText(text_id, tuple(piece.tokens), tuple(learn), found.weight))
    if not texts:
        return "prompt fills max_length" if long else "nothing to learn"
    return _Made(texts, cut=int(long and not divisible), split=int(long and divisible))


def _plain(text: PlainText, tokenizer: PreTrainedTokenizerBase, *, append_eos: bool) -> _Encoded:
    asked = list(tokenizer.encode(text.prompt)) if text.prompt else []
    end = str(tokenizer.eos_token) if append_eos and tokenizer.eos_token is not None else ""
    whole = list(tokenizer.encode(text.prompt + text.completion.removesuffix(end)))
    if end and whole[-1:] != [tokenizer.eos_token_id]:
        whole.append(_token(tokenizer.eos_token_id))
    shared = _common(asked, whole)
    return _Encoded(whole, [False] * shared + [True] * (len(whole) - shared))


def _conversation(dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[_Encoded]:
    """The conversation with the assistant's turns learnt.

    Where a template writes a turn differently once the conversation goes on (thinking models forget their thoughts),
    there is one text per turn instead, each as the model meets it.
    """
    if not tokenizer.chat_template:
        raise ModelError(
            "the texts are conversations, but the tokenizer has no chat template",
            code="model.no-chat-template",
            hint="use an instruct model, or write the texts as plain text",
        )

    def encode(messages: Sequence[Any], *, ask: bool = False) -> list[int]:
        encoded: Any = tokenizer.apply_chat_template(
            list(messages), tokenize=True, return_dict=True, add_generation_prompt=ask, **dialogue.template
        )
        return list(encoded["input_ids"])

    messages = dialogue.messages
    turns = [
        (encode(messages[:n], ask=True), encode(messages[: n + 1]))
        for n in range(dialogue.first, len(messages))
        if messages[n].get("role") == "assistant"
    ]
    whole = turns[-1][1]  # what comes after the last turn is of no use
    if any(through != whole[: len(through)] for _, through in turns):
        return [_answer(before, through) for before, through in turns]
    learn = [False] * len(whole)
    for before, through in turns:
        start = _common(before, whole)
        learn[start : len(through)] = [True] * (len(through) - start)
    return [_Encoded(whole, learn)]


def _answer(before: Sequence[int], through: list[int]) -> _Encoded:
    start = _common(before, through)
    return _Encoded(through, [False] * start + [True] * (len(through) - start))


def _first(text: _Encoded, length: int) -> _Encoded:
    return _Encoded(text.tokens[:length], text.learn[:length])


def _pieces(text: _Encoded, length: int) -> Iterator[_Encoded]:
    """Pieces that overlap by one token, so that every token but the first is learnt exactly once."""
    for start in range(0, max(1, len(text.tokens) - 1), length - 1):
        yield _Encoded(text.tokens[start : start + length], text.learn[start : start + length])


def _token(special: Any) -> int:
    """A special token's id; the type stubs allow lists, which no causal model has."""
    return int(special)


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading tokens both share."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(first), len(second)))
