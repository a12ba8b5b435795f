"""The dataset formats of TRL's `SFTTrainer`: a record as a plain text, a prompt with a completion, or messages.

Accepted are ``text``; ``prompt`` and ``completion`` as text or as lists of messages; ``messages``; and, so that the
data of preference learning can be learnt from beforehand, ``chosen`` with ``rejected`` (`plait.align.formats`), of
which the chosen text is the completion. ``tools``, ``chat_template_kwargs`` and ``weight`` may stand beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from plait.align.formats import read_record

Messages = Sequence[Mapping[str, Any]]

FORMATS = "text; prompt and completion; messages; or prompt, chosen and rejected"


@dataclass(frozen=True)
class PlainText:
    """What is learnt, and what it follows; a text without a prompt is learnt as a whole."""

    prompt: str
    completion: str
    weight: float = 1.0


@dataclass(frozen=True)
class Dialogue:
    """Messages, of which the assistant's from ``first`` on are learnt.

    Args:
        messages: The turns, in order.
        first: Turns before it are never learnt.
        template: What the chat template is given beside the messages.
        weight: How much each token counts.
    """

    messages: Messages
    first: int = 0
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weight: float = 1.0


def read_text(record: Mapping[str, Any]) -> PlainText | Dialogue | str:
    """What a record holds, or in words what is wrong with it.

    Example:
        >>> read_text({"prompt": "2 + 2 = ", "completion": "4"})
        PlainText(prompt='2 + 2 = ', completion='4', weight=1.0)
        >>> read_text({"prompt": "2 + 2 = ", "completion": ""})
        'nothing to learn'
    """
    weight = _weight(record.get("weight"))
    if weight is None:
        return "weight is not a positive number"
    if record.get("messages") is not None:
        return _dialogue(_clean(record["messages"]), 0, record, weight)
    if record.get("rejected") is not None:
        pair = read_record(record)
        if isinstance(pair, str):
            return pair
        prompt, completion = pair.prompt, pair.chosen
    else:
        prompt, completion = record.get("prompt"), record.get("completion")
    if completion is None:
        prompt, completion = "", record.get("text")
    if isinstance(completion, str) and isinstance(prompt, str | None):
        return PlainText(prompt or "", completion, weight) if completion else "nothing to learn"
    if completion is None:
        return "missing text"
    if isinstance(completion, str) or isinstance(prompt, str):
        return "prompt and completion are not of one kind"
    before = _clean(prompt or [])
    return _dialogue([*before, *_clean(completion)], len(before), record, weight)


def _dialogue(messages: Messages, first: int, record: Mapping[str, Any], weight: float) -> Dialogue | str:
    if not any(m.get("role") == "assistant" and (m.get("content") or m.get("tool_calls")) for m in messages[first:]):
        return "nothing to learn"
    if messages[0].get("role") == "assistant":
        return "the assistant speaks first"
    given = record.get("tools")
    tools = json.loads(given) if isinstance(given, str) else given
    template = ({"tools": tools} if tools else {}) | dict(record.get("chat_template_kwargs") or {})
    return Dialogue(messages, first, template, weight)


def _clean(messages: Any) -> Messages:
    """Messages without their empty fields: columns of Arrow fill in those that only other messages have."""
    return [{k: v for k, v in cast("Mapping[str, Any]", message).items() if v is not None} for message in messages]


def _weight(value: Any) -> float | None:
    if value is None:
        return 1.0
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None
