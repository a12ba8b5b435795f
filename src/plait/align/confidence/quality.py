"""Whether an answer is right: exact match and numeric match."""

from __future__ import annotations

import re
import string
import unicodedata

from plait.align.confidence.parse import strip_confidence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"[+-]?(?:\d[\d,]*\.?\d*|\.\d+)")


def exact_match(answer: str, reference: str) -> bool:
    """Whether two answers are the same words: without case, punctuation, articles, spaces and a stated confidence.

    Example:
        >>> exact_match("The Nile.", "nile")
        True

    Source: SQuAD's evaluation script (Rajpurkar et al. 2016).
    """
    return _words(strip_confidence(answer)) == _words(reference)


def numeric_match(answer: str, reference: str, *, tolerance: float = 1e-9) -> bool:
    """Whether the last number of the answer, before any confidence, is that of the reference.

    Example:
        >>> numeric_match("12 + 30 = 42. Confidence: 0.9", "42")
        True
    """
    found, wanted = _last_number(strip_confidence(answer)), _last_number(reference)
    return found is not None and wanted is not None and abs(found - wanted) <= tolerance * max(1.0, abs(wanted))


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    return _ARTICLES.sub(" ", "".join(c for c in text if c not in string.punctuation)).split()


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
