"""The dataset formats of TRL: a record as prompt, chosen and rejected, plain or conversational.

Accepted are ``prompt``, ``chosen`` and ``rejected`` as text or as lists of messages; ``chosen`` and ``rejected`` that
both begin with the prompt (an implicit prompt: their common beginning); ``tools`` and ``chat_template_kwargs`` beside
conversations; and, for this package, a ``weight``, a ``flip_prior`` and a ``group``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

Text = str | Sequence[Mapping[str, Any]]
"""Plain text, or messages with ``role`` and ``content``."""

T = TypeVar("T")

TEXT_COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class PreferenceTexts:
    """The texts of one pair, all plain or all messages.

    Args:
        prompt: What both completions answer; may be empty.
        chosen: The preferred completion, without the prompt.
        rejected: The other completion, without the prompt.
        template: What the chat template is given beside the messages: ``tools`` and the record's
            ``chat_template_kwargs``.
        weight: How much the pair counts.
        flip_prior: Probability that its label is wrong; ``None`` where nothing is known of it.
        group: What it belongs to: an annotator, a source; ``None`` where nothing is known of it.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weight: float = 1.0
    flip_prior: float | None = None
    group: str | None = None

    @property
    def conversational(self) -> bool:
        """Whether the texts are messages."""
        return not isinstance(self.prompt, str)


def read_record(record: Mapping[str, Any]) -> PreferenceTexts | str:
    """The texts of a record, or in words what is wrong with it.

    Example:
        >>> found = read_record({"chosen": "2 + 2 = 4", "rejected": "2 + 2 = 5"})
        >>> found.prompt, found.chosen, found.rejected
        ('2 + 2 =', ' 4', ' 5')
        >>> read_record({"prompt": "Hi", "chosen": "", "rejected": "Go away"})
        'empty completion'
    """
    prompt, chosen, rejected = (_text(record.get(column)) for column in TEXT_COLUMNS)
    if chosen is None or rejected is None or (prompt is None and "prompt" in record):
        return "missing text"
    if chosen == rejected:
        return "chosen and rejected are the same text"
    if isinstance(chosen, str) != isinstance(rejected, str):
        return "prompt, chosen and rejected are not of one kind"
    # Some data sets repeat the prompt as text beside conversations that begin with it.
    if prompt is None or (isinstance(prompt, str) and not isinstance(chosen, str)):
        prompt, chosen, rejected = split_prompt(chosen, rejected)
    if isinstance(prompt, str) != isinstance(chosen, str):
        return "prompt, chosen and rejected are not of one kind"
    if not _said(chosen) or not _said(rejected):
        return "empty completion"
    weight, flip_prior = _number(record.get("weight"), 1.0), _number(record.get("flip_prior"), None)
    if not 0 < weight < math.inf:
        return "weight is not a positive number"
    if flip_prior is not None and not 0 <= flip_prior <= 1:
        return "flip_prior is not a probability"
    group = record.get("group")
    if not isinstance(group, str | int | None):
        return "group is not a name"
    named = None if group is None else str(group)
    return PreferenceTexts(prompt, chosen, rejected, _template(record), weight, flip_prior, named)


def split_prompt(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of two texts that begin alike: the common beginning is the prompt.

    Of plain text a space before the first difference goes to the completions. Where one text is the beginning of the
    other, its last character or message stays a completion. Equal to TRL's ``extract_prompt``, but for texts that
    differ from the start, of which TRL takes the last character off if it is a space.
    """
    shorter = min(len(chosen), len(rejected))
    shared = next((n for n in range(shorter) if chosen[n] != rejected[n]), max(shorter - 1, 0))
    if shared and chosen[shared - 1] == " " and chosen[shared : shared + 1] != rejected[shared : shared + 1]:
        shared -= 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _text(value: Any) -> Text | None:
    """Messages without their empty fields: columns of Arrow fill in those that only other messages have."""
    if value is None or isinstance(value, str):
        return value
    return [{key: part for key, part in message.items() if part is not None} for message in value]


def _said(text: Text) -> bool:
    if isinstance(text, str):
        return bool(text)
    return any(message.get("content") or message.get("tool_calls") for message in text)


def _template(record: Mapping[str, Any]) -> dict[str, Any]:
    given = record.get("tools")
    tools = json.loads(given) if isinstance(given, str) else given
    settings = cast("Mapping[str, Any]", record.get("chat_template_kwargs") or {})
    return ({"tools": tools} if tools else {}) | dict(settings)


def _number(value: Any, absent: T) -> float | T:
    """A number, or NaN for what is none, so that a comparison refuses it."""
    if value is None:
        return absent
    return float(value) if isinstance(value, int | float) else math.nan
