"""Models that answer by rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from plait.llm import Rule, Scripted

Answers = Callable[..., Scripted]


def _says(*rules: tuple[str, Any]) -> Scripted:
    def plain(answer: Any) -> str:
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return text.replace("\\", "\\\\")

    return Scripted(rules=tuple(Rule(pattern=pattern, answer=plain(answer)) for pattern, answer in rules))


@pytest.fixture
def says() -> Answers:
    """A model from pairs of a pattern in the question and the answer, as data."""
    return _says
