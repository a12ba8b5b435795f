"""Passages of evaluation sets: n-grams of their texts, looked for in documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plait.data.dedup.groups import ascending
from plait.data.dedup.tokens import AnyTokenization, Shingling, windows
from plait.data.loops import compiled
from plait.data.utf8 import starts_of
from plait.errors import DataError

NOWHERE = -1
"""The number of no text."""
_PAIRS_AT_ONCE = 1 << 21
"""N-grams of documents times evaluation texts that have them, or those of one document."""


@dataclass(frozen=True)
class Passages:
    """N-grams of evaluation texts.

    Args:
        names: ``file:line`` of each text.
        total: Distinct n-grams of each, int64 ``[texts]``.
        grams: By length of the n-gram: hashes, ascending, and for each whose it is, int64.
        words: What a word is.
        too_short: Texts too short to look for.
    """

    names: tuple[str, ...]
    total: np.ndarray
    grams: dict[int, tuple[np.ndarray, np.ndarray]]
    words: Shingling
    too_short: int

    @classmethod
    def read(
        cls, files: Sequence[Path], fields: Sequence[str], n: int, shortest: int, tokenization: AnyTokenization
    ) -> Passages:
        """The n-grams of all texts of some files of JSON lines.

        Args:
            files: The files.
            fields: Fields of the texts; each is looked for by itself.
            n: Words per n-gram.
            shortest: A text of fewer words than ``n`` is one n-gram, unless it has fewer than this.
            tokenization: What a word is.

        Raises:
            DataError: A file is not there, or no text is found in it.
        """
        found = [(f"{path.name}:{line}", text) for path in files for line, text in _texts(path, fields)]
        texts = pl.Series([text for _, text in found], dtype=pl.String)
        lengths = np.diff(Shingling(tokenization, 1).shingles(texts)[1])
        window = np.where(lengths >= shortest, np.minimum(lengths, n), 0)
        total = np.zeros(len(found), np.int64)
        grams = dict[int, tuple[np.ndarray, np.ndarray]]()
        for size in np.unique(window[window > 0]).tolist():
            rows = np.flatnonzero(window == size)
            values, starts = Shingling(tokenization, size).sets(texts.gather(rows))
            total[rows] = np.diff(starts)
            order = np.argsort(values, kind="stable")
            grams[size] = (values[order], np.repeat(rows, np.diff(starts))[order])
        return cls(tuple(name for name, _ in found), total, grams, Shingling(tokenization, 1), int((window == 0).sum()))

    def overlap(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Which share of an evaluation text's distinct n-grams each document contains.

        Returns:
            The largest share over all evaluation texts, float64 ``[documents]``, and the text's number, the lowest
            of several, -1 where none has an n-gram in common, int64 ``[documents]``.
        """
        share, which = np.zeros(len(texts)), np.full(len(texts), NOWHERE)
        tokens, tokens_at = self.words.tokens(texts)
        for size, (grams, owner) in self.grams.items():
            hashes, starts = windows(tokens, tokens_at, size)
            at, document = _hits(hashes, starts, _filled(ascending(grams)))
            first = np.searchsorted(grams, hashes[at], side="left")
            counts = np.searchsorted(grams, hashes[at], side="right") - first
            for some in _slices(document, counts):
                row, text, own = self._largest(document[some], first[some], counts[some], owner)
                better = (own > share[row]) | ((own == share[row]) & (text < which[row]))
                share[row[better]], which[row[better]] = own[better], text[better]
        return share, which

    def _largest(
        self, document: np.ndarray, first: np.ndarray, counts: np.ndarray, owner: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each document with an n-gram, the evaluation text of which it has the largest share, and that share."""
        # Every evaluation text that has the n-gram; the same n-gram counts once per document.
        place = np.repeat(first - starts_of(counts)[:-1], counts) + np.arange(counts.sum())
        once = ascending(np.repeat(document, counts) * len(owner) + place)
        pairs = once // len(owner) * len(self.total) + owner[once % len(owner)]
        pairs, shared = np.unique(pairs, return_counts=True)
        row, text = np.divmod(pairs, len(self.total))
        own = shared / self.total[text]
        order = np.lexsort((text, -own, row))
        best = order[np.unique(row[order], return_index=True)[1]]
        return row[best], text[best], own[best]


def _slices(document: np.ndarray, counts: np.ndarray) -> Iterator[slice]:
    """N-grams found, some at a time, with all of a document together.

    An n-gram of a prompt stands in every text of an evaluation set and, with the prompt, in every document: pairs of
    all with all.
    """
    edges = np.append(np.unique(document, return_index=True)[1], len(document))
    total = starts_of(counts)[edges]
    begin = 0
    while begin < len(edges) - 1:
        end = int(np.searchsorted(total, total[begin] + _PAIRS_AT_ONCE, side="right")) - 1
        end = max(end, begin + 1)
        yield slice(int(edges[begin]), int(edges[end]))
        begin = end


def changed(files: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    """When each file was changed, and its size.

    Raises:
        DataError: A file is not there.
    """
    try:
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in (path.stat() for path in files))
    except FileNotFoundError as error:
        raise _missing(error.filename) from error


def _missing(path: Path | str) -> DataError:
    return DataError(f"there is no evaluation set {path}", code="data.no-evaluation-set", hint="check its path")


def _texts(path: Path, fields: Sequence[str]) -> Iterator[tuple[int, str]]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError as error:
        raise _missing(path) from error
    some = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        record = _record(path, number, line)
        for text in (record.get(name) for name in fields):
            if isinstance(text, str):
                some = True
                yield number, text
    if not some:
        raise DataError(
            f"no record of {path} has a text in {' or '.join(fields)}",
            code="data.missing-field",
            hint="name the fields of the evaluation texts: eval_keys: [question, answer]",
        )


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:  # also of bytes that are no UTF-8
        record = error
    if not isinstance(record, dict):
        raise DataError(
            "not a JSON object" if not isinstance(record, ValueError) else f"not JSON: {record}",
            code="data.bad-evaluation-set",
            where=f"{path}:{number}",
            hint="evaluation sets are files of JSON lines, each an object with the fields that eval_keys names",
        )
    return record


@compiled
def _filled(values: np.ndarray) -> np.ndarray:
    size = 16
    while size < 4 * len(values):
        size *= 2
    table = np.zeros(size, np.uint64)
    mask = np.uint64(size - 1)
    for value in values:
        kept = max(value, np.uint64(1))
        slot = kept & mask
        while table[slot] != 0 and table[slot] != kept:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = kept
    return table


@compiled
def _hits(hashes: np.ndarray, starts: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the hashes of a table stand, and in which document."""
    mask = np.uint64(len(table) - 1)
    found = np.zeros(len(hashes), np.bool_)
    for i in range(len(hashes)):
        value = max(hashes[i], np.uint64(1))
        slot = value & mask
        while table[slot] != 0 and table[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        found[i] = table[slot] != 0
    at = np.flatnonzero(found)
    return at, np.searchsorted(starts, at, side="right") - 1
