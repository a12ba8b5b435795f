"""Filters that look for words of a list: a language's commonest words, or words nobody wants to train on.

A list is a set of 64-bit hashes, and so are the words of a text. With ``use_words_aug`` runs of words count, too, as
if written together: rather than writing them together, each entry of the list is cut in all ways it could have
arisen, and the runs of hashes are looked up.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from plait.data.batch import session
from plait.data.op import Bounds
from plait.data.ops.filters.characters import share
from plait.data.ops.filters.words import WordFilter
from plait.errors import DataError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from plait.data.batch import Batch

_ASSETS = Path(__file__).parents[2] / "assets"


class WordListFilter(WordFilter):
    """Base of filters that count words of a list."""

    cost = "words"
    list_kind: ClassVar[Literal["stopwords", "flagged"]]

    use_words_aug: bool = False
    """Count runs of words, written together, beside the words: for languages without spaces between words."""
    words_aug_group_sizes: tuple[PositiveInt, ...] = (2,)
    """Words per run."""
    words_aug_join_char: str = ""
    """What stands between the words of a run."""

    def ready(self) -> None:
        """Reads the list."""
        super().ready()
        self.vocabulary()

    def vocabulary(self) -> frozenset[str]:
        """The words of the list."""
        raise NotImplementedError

    def value(self, batch: Batch) -> np.ndarray:
        """Words of the list over all words; 0 where there are none."""
        from plait.data import kernels

        hashes, by_size = session(self, self._hashes)
        words = self.words(batch)
        listed, total = words.count_in(hashes), words.counts
        for size, runs in by_size:
            found = kernels.Words(*kernels.shingles(words, size), words.cased, words.split)
            listed, total = listed + found.count_in(runs), total + found.counts
        return share(listed, total)

    def _hashes(self) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
        """The list, and for each size the runs of words that make an entry when written together."""
        from plait.data.kernels import hash_strings

        words = sorted(self.vocabulary())
        sizes = self.words_aug_group_sizes if self.use_words_aug else ()
        return hash_strings(words), [(size, _runs(words, size, self.words_aug_join_char)) for size in sizes]


class StopWordsFilter(WordListFilter):
    """Keeps texts with enough of a language's commonest words.

    Example:
        - stopwords_filter: {lang: en, min_ratio: 0.3}

        >>> StopWordsFilter().measure_texts(["The cat and the dog.", "cat dog"])
        [0.6, 0.0]

    Source: Data-Juicer 1.6.1, ``stopwords_filter``. Without ``stopwords_dir`` the words are Plait's own, because
    Data-Juicer's are downloaded; ratios differ a little from those of its lists.
    """

    stat = "stopwords_ratio"
    list_kind = "stopwords"

    min_ratio: float = 0.3
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 1.0
    """Largest share kept, 0 to 1."""
    stopwords_dir: str | None = None
    """Folder with JSON files whose names contain ``stopwords``: language → words. By default Plait's own lists.

    ``lang: all`` takes the words of all languages."""

    def vocabulary(self) -> frozenset[str]:
        """The words of the list."""
        return word_list("stopwords", self.lang, self.stopwords_dir)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


class FlaggedWordsFilter(WordListFilter):
    """Keeps texts with few words of a list of flagged words: sexual, coarse, slurs.

    Example:
        - flagged_words_filter: {lang: en, max_ratio: 0.01}

        >>> FlaggedWordsFilter().measure_texts(["The cat and the dog."])
        [0.0]

    Source: Data-Juicer 1.6.1, ``flagged_words_filter``. Without ``flagged_words_dir`` the words are Plait's own,
    because Data-Juicer's are downloaded; ratios differ from those of its lists.
    """

    stat = "flagged_words_ratio"
    list_kind = "flagged"

    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.045
    """Largest share kept, 0 to 1."""
    flagged_words_dir: str | None = None
    """Folder with JSON files whose names contain ``flagged_words``: language → words. By default Plait's own lists.

    ``lang: all`` takes the words of all languages."""

    def vocabulary(self) -> frozenset[str]:
        """The words of the list."""
        return word_list("flagged", self.lang, self.flagged_words_dir)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


def word_list(kind: Literal["stopwords", "flagged"], lang: str, folder: str | None = None) -> frozenset[str]:
    """Words of a list.

    Args:
        kind: Which list.
        lang: The language; ``all`` for the words of all languages.
        folder: With the user's own JSON files; ``None`` for Plait's lists.

    Raises:
        UsageError: There is no list for the language.
        DataError: A file is not what it should be.
    """
    lists = _own_lists(kind) if folder is None else _user_lists(kind, Path(folder).expanduser())
    if lang == "all" and "all" not in lists:
        return frozenset(word for words in lists.values() for word in words)
    if lang not in lists:
        setting = "stopwords_dir" if kind == "stopwords" else "flagged_words_dir"
        raise UsageError(
            f'there is no list of {kind.replace("flagged", "flagged words")} for the language "{lang}"',
            code="data.no-word-list",
            hint=f"{nearest(lang, [*lists, 'all'])}; or give your own in {setting}",
        )
    return frozenset(lists[lang])


def _own_lists(kind: str) -> dict[str, list[str]]:
    lists = dict[str, list[str]]()
    for path in sorted((_ASSETS / kind).glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        lists[path.stem] = [line for line in lines if line and not line.startswith("#")]
    return lists


def _user_lists(kind: str, folder: Path) -> dict[str, list[str]]:
    name = "stopwords" if kind == "stopwords" else "flagged_words"
    files = sorted(p for p in folder.glob("*.json") if name in p.name) if folder.is_dir() else []
    if not files:
        raise UsageError(
            f"no JSON file with {name} in its name is in {folder}",
            code="data.no-word-list",
            hint="leave the setting out for Plait's own lists",
        )
    lists = dict[str, list[str]]()
    for path in files:
        for lang, words in _read(path).items():
            lists.setdefault(lang, []).extend(words)
    return lists


def _read(path: Path) -> Mapping[str, Sequence[str]]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        return {str(lang): [str(word) for word in words] for lang, words in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"this is no list of words: {error}",
            code="data.bad-word-list",
            where=str(path),
            hint='it should read {"en": ["word", …], …}',
        ) from error


def _runs(words: Sequence[str], size: int, between: str) -> np.ndarray:
    """Hashes, as `kernels.shingles` gives them, of all runs of ``size`` words that make one of ``words``."""
    from plait.data import kernels
    from plait.data.utf8 import starts_of

    parts = [part for word in words for cut in _cuts(word, size, between) for part in cut]
    runs = len(parts) // size
    lengths = np.full(runs, size, np.int64)
    each = kernels.Words(kernels.hash_strings(parts), starts_of(lengths), lengths, lengths)
    return kernels.shingles(each, size)[0]


def _cuts(word: str, size: int, between: str) -> Iterator[list[str]]:
    """All ways to cut a word into ``size`` parts that are not empty."""
    width = len(between)
    places = [i for i in range(1, len(word) - width) if word.startswith(between, i)] if width else range(1, len(word))
    for chosen in combinations(places, size - 1):
        edges = [-width, *chosen, len(word)]
        parts = [word[edges[i] + width : edges[i + 1]] for i in range(size)]
        if all(parts) and between.join(parts) == word:
            yield parts
