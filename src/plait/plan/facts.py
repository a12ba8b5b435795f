"""The hard facts in a text: numbers and names, which a plan must carry from the question to its sub-tasks."""

from __future__ import annotations

import re
from fractions import Fraction

_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|\.\d)")
_WORDS = {
    word: number
    for number, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve".split(),  # noqa: SIM905 - read as words
        start=2,
    )
}
_QUOTED = re.compile(r'"([^"]+)"|`([^`]+)`|“([^”]+)”|(?<!\w)\'([^\']+)\'(?!\w)')
# textwrap.TextWrapper, read_table, TextWrapper, SQLite: words that no sentence has by accident.
_IDENTIFIER = re.compile(r"\b(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z]+_\w+|[A-Z]?[a-z]+[A-Z]\w*|[A-Z]{2,}\w*)\b")


def numbers(text: str) -> list[Fraction]:
    """The numbers written in digits, in order; ``1,000`` is a thousand. Exact, so that 0.10 equals 0.1.

    Example:
        >>> [str(n) for n in numbers("12 lines of 1,000 characters, 0.5 s, python3, v1.2.3")]
        ['12', '1000', '1/2']
    """
    return [Fraction(found.group().replace(",", "")) for found in _NUMBER.finditer(text)]


def as_number(text: str) -> Fraction | None:
    """The text as one number, with its sign; ``None`` if it is anything else.

    Example:
        >>> as_number("-1.5"), as_number("70 lines")
        (Fraction(-3, 2), None)
    """
    return Fraction(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def number_words(text: str) -> list[Fraction]:
    """Numbers from two to twelve that are written as words; "one" is a pronoun more often than a number.

    Example:
        >>> [str(n) for n in number_words("Twelve lines, one of them with two words")]
        ['12', '2']
    """
    return [Fraction(_WORDS[word]) for word in re.findall(r"[a-z]+", text.lower()) if word in _WORDS]


def names(text: str) -> list[str]:
    """Quoted texts and identifiers (dotted, with underscores or inner capitals), in order, each once.

    Example:
        >>> names('What does "hello world" mean to textwrap.TextWrapper and to read_table in SQLite?')
        ['hello world', 'textwrap.TextWrapper', 'read_table', 'SQLite']
    """
    quoted = [(found.start(), next(g for g in found.groups() if g is not None)) for found in _QUOTED.finditer(text)]
    bare = _QUOTED.sub(lambda found: " " * len(found.group()), text)
    identifiers = [(found.start(), found.group()) for found in _IDENTIFIER.finditer(bare)]
    return list(dict.fromkeys(name for _, name in sorted(quoted + identifiers)))


def without_references(text: str) -> str:
    """A sub-task's text without its way of speaking of other sub-tasks, whose numbers are no facts.

    Example:
        >>> without_references("Multiply the answer of sub-task 1 by 12.")
        'Multiply the answer of   by 12.'
    """
    return re.sub(r"(?i)\b(?:sub-?task|task|step|answer|result)s?(?: of| #)? ?\d+\b", " ", text)


def mentions(text: str, name: str) -> bool:
    """Whether a text has the name, upper or lower case, as a whole word.

    Example:
        >>> mentions("use textwrapper here", "TextWrapper"), mentions("TextWrappers", "TextWrapper")
        (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def words(text: str) -> list[str]:
    """Lower-case words for search and comparison; an identifier counts as a whole and by its parts.

    Example:
        >>> words("The textwrap.TextWrapper, read_table")
        ['the', 'textwrap.textwrapper', 'textwrap', 'textwrapper', 'read_table', 'read', 'table']
    """
    found: list[str] = []
    for match in re.finditer(r"\w+(?:\.\w+)*", text.lower()):
        whole = match.group()
        found.append(whole)
        parts = [part for part in re.split(r"[._]", whole) if part]
        if len(parts) > 1:
            found.extend(parts)
    return found
