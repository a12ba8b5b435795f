"""Cutting a text into a prompt and its continuation, at the ends of sentences and words.

Lengths are in tokens of whichever tokenizer counts them; cuts are places in the text, so that nothing is changed by
encoding and decoding, and no character or word is cut in two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

CountTokens = Callable[[str], int]
"""A text → how many tokens it has; never fewer for a longer beginning of the same text."""

_SENTENCE_END = re.compile(r"[.!?:][\"')\]]*(?=\s)")
_WORD_END = re.compile(r"\S(?=\s|\Z)")


def prompt_end(text: str, count: CountTokens, *, at_least: int, at_most: int) -> int | None:
    """Where a prompt ends: after the last sentence that fits, or else after the last word that fits.

    Args:
        text: The whole document.
        count: Counts tokens.
        at_least: Fewest tokens of a prompt.
        at_most: Most tokens of a prompt.

    Returns:
        Characters of the prompt, or ``None`` if no cut gives a length in the range.

    Example:
        >>> words = lambda text: len(text.split())
        >>> text = "Return the sum. Then rest for a while."
        >>> text[: prompt_end(text, words, at_least=2, at_most=5)]
        'Return the sum.'
    """
    for ends in (_SENTENCE_END, _WORD_END):
        places = [match.end() for match in ends.finditer(text)]
        place = _last_fitting(text, places, count, at_most)
        if place is not None and count(text[:place]) >= at_least:
            return place
    return None


def cut_to(text: str, count: CountTokens, *, target: int) -> str:
    """The beginning of a text that ends with a word and whose length is nearest to a target; the shorter of two.

    Example:
        >>> cut_to(" and then rest for a while", lambda text: len(text.split()), target=3)
        ' and then rest'
    """
    places = [match.end() for match in _WORD_END.finditer(text)]
    below = _last_fitting(text, places, count, target)
    above = next((place for place in places if below is None or place > below), None)
    found = [text[:place] for place in (below, above) if place is not None]
    return min(found, key=lambda part: abs(count(part) - target), default="")


def without_last_word(text: str) -> str:
    """A text that was cut off, up to the last word that is surely whole.

    Example:
        >>> without_last_word(" and then re")
        ' and then'
    """
    ends = [match.end() for match in _WORD_END.finditer(text)]
    whole = [end for end in ends if end < len(text)]
    return text[: whole[-1]] if whole else ""


def share_of(name: str) -> float:
    """A number in [0, 1) that depends on the name alone: splits by it never move a document.

    Example:
        >>> share_of("asyncio.tasks.wait_for") == share_of("asyncio.tasks.wait_for")
        True
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"plait-split").digest()
    return int.from_bytes(digest, "little") / 2**64


def _last_fitting(text: str, places: Sequence[int], count: CountTokens, at_most: int) -> int | None:
    """The last place up to which there are at most so many tokens, by bisection."""
    low, high = 0, len(places)
    while low < high:
        middle = (low + high) // 2
        if count(text[: places[middle]]) <= at_most:
            low = middle + 1
        else:
            high = middle
    return places[low - 1] if low else None
