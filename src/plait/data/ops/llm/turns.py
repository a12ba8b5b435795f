"""A dialog as turns: what the user said and what the assistant said, oldest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LANGUAGES = {"zh": "Chinese", "en": "English"}
"""Languages that explanations can be asked for in, by their code."""


def turns_of(row: Mapping[str, Any], *, history: str, query: str, response: str) -> list[tuple[str, str]]:
    """The turns of a row: its history, and the query and response unless they are its last turn already.

    Args:
        row: The fields of a row.
        history: Field of earlier turns, pairs of texts.
        query: Field of what the user said last.
        response: Field of what the assistant said to it.

    Example:
        >>> row = {"h": [["hi", "hello"], ["bye", None]], "q": "bye", "r": "so long"}
        >>> turns_of(row, history="h", query="q", response="r")
        [('hi', 'hello'), ('bye', 'so long')]

    Source: Data-Juicer 1.6.1, ``dialog_llm_input_utils``.
    """
    turns = [(str(turn[0] or ""), str(turn[1] or "")) for turn in row.get(history) or () if len(turn) >= 2]
    if not row.get(query):
        return turns
    last = (str(row[query]), str(row.get(response) or ""))
    if turns and turns[-1][0] == last[0]:
        turns.pop()
    return [*turns, last]


def clip(text: str, most: int) -> str:
    """The first characters of a text, and a mark where it was cut; all of it if ``most`` is 0.

    Example:
        >>> clip("abcdef", 4), clip("abc", 4), clip("abcdef", 0)
        ('abcd…', 'abc', 'abcdef')
    """
    return text[:most] + "…" if 0 < most < len(text) else text


def language_of(code: str) -> str:
    """The language of a code such as ``zh``, ``zh-CN``, ``en``; English for others, as in Data-Juicer.

    Example:
        >>> language_of("zh_CN"), language_of("fr")
        ('Chinese', 'English')
    """
    return LANGUAGES["zh" if code.strip().lower().startswith("zh") else "en"]
