r"""A stated confidence read from text: strict, with a status for every reading.

    parse_confidence("### Answer: 12\n### Confidence: 80%")   # Parsed(value=0.8, status="ok")

A text without a confidence has none: the official code takes 1.0 in training and 0.0 in evaluation, so that silence is
first certainty and then a perfectly calibrated guess. That reading is kept behind ``compat``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

_MARKER = re.compile(r"(?:###\s*)?\bconfidence\b[ \t]*[:=][ \t]*", re.IGNORECASE)
_NUMBER = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?!\w)(?!\.\d)(?![ \t]*/)[ \t]*(%?)")
_OFFICIAL_TRAINING = re.compile(r"### Confidence: (\d+(?:\.\d+)?)")
_OFFICIAL_EVALUATION = re.compile(r"### Confidence: (\d\.\d)")


class Status(StrEnum):
    """What became of one reading."""

    OK = "ok"
    CLIPPED = "clipped"
    """The number was outside 0 to 1, and was moved to the nearer end."""
    NO_MARKER = "no marker"
    NO_NUMBER = "no number"
    """The last marker is not followed by a number."""


@dataclass(frozen=True)
class Parsed:
    """One reading.

    Args:
        value: The stated confidence in 0 to 1; None where there is none.
        status: How it was found, or why not.
    """

    value: float | None
    status: Status


def parse_confidence(text: str, *, compat: Literal["official-training", "official-evaluation"] | None = None) -> Parsed:
    """The confidence stated after the last marker of a text.

    Reads ``0.8``, ``.8``, ``1``, ``80%`` and ``80``: a number above 1 without a point is a percentage (``1`` is 1.0).
    What lies outside 0 to 1 then is clipped, and says so.

    Args:
        text: What the model wrote; without the prompt, whose examples hold markers too.
        compat: The published code's readings of the first marker. In training a number that is missing is 1.0 and none
            is clipped (``85%`` is 85.0); in evaluation only ``d.d`` is read, up to the next question, and what is
            missing is 0.0.

    Example:
        >>> parse_confidence("### Confidence: .8").value, parse_confidence("no idea").status.value
        (0.8, 'no marker')

    Source: CONQORD (arXiv 2404.17287), official code, ppo_trainer.py and the evaluation notebooks.
    """
    if compat is not None:
        return _official(text, training=compat == "official-training")
    markers = list(_MARKER.finditer(text))
    if not markers:
        return Parsed(None, Status.NO_MARKER)
    number = _NUMBER.match(text, markers[-1].end())
    if number is None:
        return Parsed(None, Status.NO_NUMBER)
    value = float(number[1])
    if number[2] or (value > 1 and "." not in number[1].rstrip(".")):
        value /= 100
    clipped = min(max(value, 0.0), 1.0)
    return Parsed(clipped, Status.OK if clipped == value else Status.CLIPPED)


def count_statuses(parsed: Iterable[Parsed]) -> dict[str, int]:
    """How many readings had each status, in the order of `Status`."""
    counts = Counter(one.status for one in parsed)
    return {status.value: counts[status] for status in Status if counts[status]}


def strip_confidence(text: str) -> str:
    r"""The text up to its last confidence marker: what a judge of quality may see.

    Example:
        >>> strip_confidence("### Answer: 12\n### Confidence: 0.9")
        '### Answer: 12'
    """
    markers = list(_MARKER.finditer(text))
    return (text[: markers[-1].start()] if markers else text).rstrip()


def _official(text: str, *, training: bool) -> Parsed:
    found = (
        _OFFICIAL_TRAINING.search(text)
        if training
        else _OFFICIAL_EVALUATION.search(text.split("### Question", maxsplit=1)[0])
    )
    if found is None:
        return Parsed(1.0 if training else 0.0, Status.NO_MARKER)
    return Parsed(float(found[1]), Status.OK)
