"""Finding the passage that answers: BM25 over documents, cut into passages.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), equation 3.15, with the inverse
document frequency ln(1 + (N - n + 0.5) / (n + 0.5)), which is never negative.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from math import log

from plait.plan.facts import names, words
from plait.records import Document

PASSAGE_WORDS = 80
"""A passage ends with the paragraph in which it gets this long."""


@dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Args:
        source: The document's id.
        text: The piece, as it stands there.
    """

    source: str
    text: str


class BM25:
    """An index of texts, searched by words.

    Args:
        texts: What can be found.
        k1: How soon more of the same word stops to count.
        b: How much long texts are held back, 0 to 1.

    Example:
        >>> index = BM25(["the cat sat", "a dog ran", "the dog sat down"])
        >>> [place for place, score in index.search("dog down", top=2)]
        [2, 1]
    """

    def __init__(self, texts: Iterable[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        self._k1 = k1
        self._b = b
        self._postings: dict[str, list[tuple[int, int]]] = {}
        self._lengths: list[int] = []
        for place, text in enumerate(texts):
            found = words(text)
            self._lengths.append(len(found))
            for word, count in Counter(found).items():
                self._postings.setdefault(word, []).append((place, count))
        self._average = sum(self._lengths) / len(self._lengths) if self._lengths else 0.0

    def knows(self, word: str) -> bool:
        """Whether any text has the word."""
        return word in self._postings

    def search(self, query: str, *, top: int) -> list[tuple[int, float]]:
        """The best texts for a query: ``(place, score)``, best first, equal ones in order of place."""
        scores: dict[int, float] = {}
        for word in dict.fromkeys(words(query)):
            postings = self._postings.get(word, [])
            rarity = log(1 + (len(self._lengths) - len(postings) + 0.5) / (len(postings) + 0.5))
            for place, count in postings:
                held_back = 1 - self._b + self._b * self._lengths[place] / self._average
                weight = count * (self._k1 + 1) / (count + self._k1 * held_back)
                scores[place] = scores.get(place, 0.0) + rarity * weight
        return nsmallest(top, scores.items(), key=lambda item: (-item[1], item[0]))


class Library:
    """Documents as passages, searchable.

    Args:
        documents: At least ``id`` and ``text`` of each are used.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.passages: list[Passage] = []
        self._of: dict[str, list[int]] = {}
        for document in documents:
            for text in split(document["text"]):
                self._of.setdefault(document["id"].lower(), []).append(len(self.passages))
                self.passages.append(Passage(document["id"], text))
        # A docstring seldom repeats the name of what it describes: the id does.
        self._index = BM25(f"{passage.source} {passage.text}" for passage in self.passages)

    def find(self, query: str, *, top: int = 3) -> list[tuple[Passage, float]]:
        """The best passages with their scores, best first; those of a document that the query names come before."""
        named = {place for name in names(query) for place in self._of.get(name.lower(), [])}
        best = self._index.search(query, top=len(self.passages) if named else top)
        best.sort(key=lambda item: item[0] not in named)
        return [(self.passages[place], score) for place, score in best[:top]]

    def knows(self, word: str) -> bool:
        """Whether any passage, or the id of its document, has the word."""
        return self._index.knows(word)


def split(text: str, *, size: int = PASSAGE_WORDS) -> Iterator[str]:
    r"""Whole paragraphs, joined until a passage has ``size`` words.

    Example:
        >>> list(split("one two\n\nthree\n\nfour five", size=3))
        ['one two\n\nthree', 'four five']
    """
    parts: list[str] = []
    count = 0
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        parts.append(paragraph.strip("\n"))
        count += len(paragraph.split())
        if count >= size:
            yield "\n\n".join(parts)
            parts, count = [], 0
    if parts:
        yield "\n\n".join(parts)


def sentences(text: str) -> list[str]:
    r"""Sentences, list items and definition lines of a passage, each as one line of single spaces.

    Example:
        >>> sentences("Wraps text.  Lines\nare short.\n\n  width (default: 70)\n    the width\n  tabsize: 8")
        ['Wraps text.', 'Lines are short.', 'width (default: 70) the width', 'tabsize: 8']
    """
    found: list[str] = []
    for block in _blocks(text.splitlines()):
        line = " ".join(" ".join(block).split())
        found += [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z\"'`*])", line) if part]
    return found


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that belong together.

    A new block starts after an empty line, at a bullet, where indentation falls, and below a sentence that ends in a
    colon (but not below a short ``name:``, whose description follows).
    """
    block: list[str] = []
    indent = 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        introduced = bool(block) and block[-1].rstrip().endswith(":") and len(block[-1].split()) > 3 and depth > indent
        starts = not line.strip() or re.match(r"\s*([-*+]|\d+[.)])\s", line) or depth < indent or introduced
        if block and starts:
            yield block
            block = []
        if line.strip():
            block.append(line)
            indent = depth
    if block:
        yield block
