"""Augmentation of English texts: words and characters dropped, swapped, split and mistyped."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

from plait.data.batch import session
from plait.data.ops.rewrite.augment import Augmenter, Change, list_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

_SHARE, _MOST = 0.3, 10
_LONG = 4  # characters of words that are worth a mistake
_KEYS = ("1234567890", "qwertyuiop", "asdfghjkl;", "zxcvbnm,./")
_ALIKE = ("0oOD", "1lI7", "2Zz", "5S", "6bG", "8B", "9gq", "ce", "hn", "uv", "VY", "mn", "ij", "EF", "PR")
_INSERTED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!@#$%^&*()_+"
_SPACES = re.compile(r"(\s+)")


class NlpaugEnMapper(Augmenter):
    """Puts copies with random mistakes beside each English text.

    Of the words, or of the characters of such words, three in ten are changed: at least one, at most ten.

    Example:
        - nlpaug_en_mapper: {delete_random_word: true, keyboard_error_char: true, aug_num: 2, seed: 7}

        >>> len(NlpaugEnMapper(swap_random_word=True, aug_num=2).rewrite_texts(["I love language models"]))
        3

    Source: Data-Juicer 1.6.1, ``nlpaug_en_mapper``. Differs: the changes are those it documents, drawn from
    `seed` and the text, where nlpaug draws from the process's state; neighbouring keys and characters that look
    alike are tables of Plait's; blanks stay as they are.
    """

    delete_random_word: bool = False
    """Drop words."""
    swap_random_word: bool = False
    """Swap neighbouring words."""
    spelling_error_word: bool = False
    """Put common misspellings, from `spelling_path`."""
    split_random_word: bool = False
    """Put a space into words."""
    keyboard_error_char: bool = False
    """Put the character of a neighbouring key."""
    ocr_error_char: bool = False
    """Put a character that looks alike."""
    delete_random_char: bool = False
    """Drop characters."""
    swap_random_char: bool = False
    """Swap neighbouring characters."""
    insert_random_char: bool = False
    """Put random characters before others."""
    spelling_path: str | None = None
    """File with a word and its misspellings on each line, a space apart; ``null`` for the one in an installed
    nlpaug."""

    def changes(self) -> dict[str, Change]:
        """In Data-Juicer's order."""
        known: dict[str, Callable[[], Change]] = {
            "delete_random_word": lambda: _delete_words,
            "swap_random_word": lambda: _swap_words,
            "spelling_error_word": lambda: _misspelled(session(self, self._misspellings)),
            "split_random_word": lambda: _split_words,
            "keyboard_error_char": lambda: _in_words(_replaced(_neighbours()), _LONG),
            "ocr_error_char": lambda: _in_words(_replaced(_alike()), 1),
            "delete_random_char": lambda: _in_words(_delete, _LONG),
            "swap_random_char": lambda: _in_words(_swap, _LONG),
            "insert_random_char": lambda: _in_words(_insert, _LONG),
        }
        return {name: make() for name, make in known.items() if getattr(self, name)}

    def _misspellings(self) -> dict[str, list[str]]:
        lines = list_lines(self.spelling_path, "nlpaug", "res/word/spelling/spelling_en.txt", "spelling_error_word")
        return {words[0]: words[1:] for line in lines if len(words := line.split()) > 1}


def _some(count: int, numbers: Random, among: Sequence[int]) -> list[int]:
    """Three in ten of ``count``, at least one and at most ten, of the places that are allowed; ascending."""
    wanted = max(1, min(_MOST, ceil(_SHARE * count)))
    return sorted(numbers.sample(among, min(wanted, len(among))))


def _pieces(text: str) -> tuple[list[str], list[int]]:
    """Words and what is between them, in turn, and the places of the words."""
    pieces = _SPACES.split(text)
    return pieces, [i for i in range(0, len(pieces), 2) if pieces[i]]


def _delete_words(text: str, numbers: Random) -> str:
    pieces, words = _pieces(text)
    if len(words) < 2:
        return text
    for place in reversed(_some(len(words), numbers, words)):
        # The blank after a word goes with it, or that before the last one.
        first = place if place + 1 < len(pieces) else place - 1
        del pieces[first : first + 2]
    return "".join(pieces)


def _swap_words(text: str, numbers: Random) -> str:
    pieces, words = _pieces(text)
    if len(words) < 2:
        return text
    for at in _some(len(words), numbers, range(len(words))):
        _exchange(pieces, words[at], words[_beside(at, len(words), numbers)])
    return "".join(pieces)


def _split_words(text: str, numbers: Random) -> str:
    pieces, words = _pieces(text)
    long = [place for place in words if len(pieces[place]) >= _LONG]
    for place in _some(len(words), numbers, long):
        cut = numbers.randrange(1, len(pieces[place]))
        pieces[place] = pieces[place][:cut] + " " + pieces[place][cut:]
    return "".join(pieces)


def _misspelled(known: Mapping[str, Sequence[str]]) -> Change:
    def change(text: str, numbers: Random) -> str:
        pieces, words = _pieces(text)
        for place in _some(len(words), numbers, [p for p in words if pieces[p] in known or pieces[p].lower() in known]):
            word = pieces[place]
            wrong = numbers.choice(known.get(word) or known[word.lower()])
            pieces[place] = wrong[:1].upper() + wrong[1:] if word[:1].isupper() else wrong
        return "".join(pieces)

    return change


def _in_words(change: Callable[[list[str], Random], None], shortest: int) -> Change:
    """A change of the characters of some words."""

    def changed(text: str, numbers: Random) -> str:
        pieces, words = _pieces(text)
        for place in _some(len(words), numbers, [p for p in words if len(pieces[p]) >= shortest]):
            characters = list(pieces[place])
            change(characters, numbers)
            pieces[place] = "".join(characters)
        return "".join(pieces)

    return changed


def _replaced(table: Mapping[str, str]) -> Callable[[list[str], Random], None]:
    def change(characters: list[str], numbers: Random) -> None:
        for i in _some(len(characters), numbers, [i for i, c in enumerate(characters) if c in table]):
            characters[i] = numbers.choice(table[characters[i]])

    return change


def _delete(characters: list[str], numbers: Random) -> None:
    for i in reversed(_some(len(characters), numbers, range(len(characters)))):
        del characters[i]


def _swap(characters: list[str], numbers: Random) -> None:
    for i in _some(len(characters), numbers, range(len(characters))):
        _exchange(characters, i, _beside(i, len(characters), numbers))


def _insert(characters: list[str], numbers: Random) -> None:
    for i in reversed(_some(len(characters), numbers, range(len(characters)))):
        characters.insert(i, numbers.choice(_INSERTED))


def _exchange(items: list[str], i: int, j: int) -> None:
    items[i], items[j] = items[j], items[i]


def _beside(i: int, count: int, numbers: Random) -> int:
    if i == 0 or i == count - 1:
        return 1 if i == 0 else i - 1
    return i + numbers.choice((-1, 1))


def _neighbours() -> dict[str, str]:
    """Characters on the keys around each one of an American keyboard."""
    table = dict[str, str]()
    for r, row in enumerate(_KEYS):
        for c, key in enumerate(row):
            near = [
                _KEYS[y][x] for y in range(max(r - 1, 0), min(r + 2, 4)) for x in range(max(c - 1, 0), min(c + 2, 10))
            ]
            table[key] = "".join(other for other in near if other != key)
            table[key.upper()] = table[key].upper()
    return table


def _alike() -> dict[str, str]:
    table = dict[str, str]()
    for group in _ALIKE:
        for character in group:
            table[character] = table.get(character, "") + group.replace(character, "")
    return table
