"""Texts as sets of shingles: the hashes of every run of so many tokens, from one pass over the bytes.

What a token is says `Tokenization`; shingles are 64-bit hashes, equal for equal runs of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import polars as pl

from plait.core.optional import require
from plait.data import characters
from plait.data.bits import NONE
from plait.data.loops import compiled
from plait.data.utf8 import buffers, point, starts_of, width
from plait.data.word_hashes import CONTEXT, SEPARATOR, Folding, fed_character, hash_words, hashed
from plait.errors import ModelError

Tokenization = Literal["space", "punctuation", "character", "sentencepiece"]
"""Tokens are what stands between blanks, what stands between punctuation marks (empty ones count), single
characters, or the pieces of a SentencePiece model: Data-Juicer's."""

AnyTokenization = Literal["space", "punctuation", "character", "sentencepiece", "word"]
"""Or words: runs of letters and digits."""

_FULL_STOP = "."
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SPREAD = np.uint64(0xCBF29CE484222325)
_SHIFT = np.uint64(32)


@dataclass(frozen=True)
class Shingling:
    r"""How texts become shingles.

    Args:
        tokenization: What a token is.
        window: Tokens per shingle.
        lowercase: Whether case is ignored.
        ignored: Regular expression (Rust syntax) of what is left out, after lowering.
        model: File of a SentencePiece model.

    Example:
        >>> import polars as pl
        >>> hashes, starts = Shingling(window=2).shingles(pl.Series(["a b c", "B\tC", "c"]))
        >>> starts.tolist(), bool(hashes[1] == hashes[2])
        ([0, 2, 3, 3], True)
    """

    tokenization: AnyTokenization = "space"
    window: int = 5
    lowercase: bool = True
    ignored: str | None = None
    model: str | None = None

    def shingles(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all shingles, uint64 ``[shingles]``, and where each text starts, int64 ``[texts + 1]``.

        Repeats are included; a text shorter than the window has none.
        """
        return windows(*self.tokens(texts), self.window)

    def sets(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """The same, every shingle of a text once."""
        hashes, starts = self.shingles(texts)
        return distinct(hashes, starts)

    def strings(self, text: str) -> list[str]:
        """All shingles of one text as strings, words split at the space alone, as Data-Juicer has them."""
        text = text.lower() if self.lowercase else text
        if self.ignored is not None:
            text = pl.Series([text]).str.replace_all(self.ignored, "").item()
        glue = ""
        if self.tokenization == "character":
            tokens = list(text)
        elif self.tokenization == "punctuation":
            tokens, glue = "".join(_FULL_STOP if c in _marks() else c for c in text).split(_FULL_STOP), " "
        elif self.tokenization == "space":
            tokens, glue = [word for word in text.split(" ") if word], " "
        else:
            tokens = _processor(self.model or "").encode(text, out_type=str)
        return [glue.join(tokens[i : i + self.window]) for i in range(len(tokens) - self.window + 1)]

    def tokens(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of all tokens, uint64 ``[tokens]``, and where each text starts, int64 ``[texts + 1]``."""
        lower = self.lowercase
        if lower and (self.ignored is not None or self.tokenization == "sentencepiece"):
            texts, lower = texts.str.to_lowercase(), False
        if self.ignored is not None:
            texts = texts.str.replace_all(self.ignored, "")
        if self.tokenization == "sentencepiece":
            return _pieces(texts, self.model or "")
        hashes, starts, odd = _tokens(texts, self.tokenization, lower)
        if not odd.any():
            return hashes, starts
        rows = np.flatnonzero(odd)
        again, at, _ = _tokens(texts.gather(rows).str.to_lowercase(), self.tokenization, False)
        return _spliced(hashes, starts, rows, again, at)


def runnable(pattern: str | None) -> str | None:
    """The same pattern, if Rust's engine can run it.

    Raises:
        ValueError: It cannot; pydantic tells of which setting.
    """
    if pattern is not None:
        try:
            pl.Series([""]).str.contains(pattern)
        except pl.exceptions.ComputeError as error:
            raise ValueError(f"{pattern!r} is no regular expression of Rust: {str(error).strip()}") from error
    return pattern


def windows(tokens: np.ndarray, at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every run of ``size`` tokens, uint64, and where each text starts, int64 ``[texts + 1]``."""
    starts = starts_of(np.maximum(np.diff(at) - size + 1, 0))
    return _windows(tokens, at, size, starts), starts


def _tokens(texts: pl.Series, kind: str, lower: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of tokens, where each text's start, and which texts hold characters that fold by context."""
    folding = _folding(kind, lower)
    if kind in ("space", "word"):
        found = hash_words(*buffers(texts), folding)
        return found.hashes, found.starts, found.by_context
    return _single_tokens(*buffers(texts), folding.fold, kind == "character")


@lru_cache(maxsize=8)
def _folding(kind: str, lower: bool) -> Folding:
    """What each code point becomes; none is special."""
    fold = characters.lower().copy() if lower else np.arange(len(characters.lower()), dtype=np.int32)
    if lower:
        fold[(characters.classes() & characters.CONTEXT) != 0] = CONTEXT
    if kind == "space":
        fold[(characters.classes() & characters.BLANK) != 0] = SEPARATOR
    elif kind == "word":
        fold[(characters.classes() & characters.ALNUM) == 0] = SEPARATOR
    elif kind == "punctuation":
        fold[_punctuation()] = SEPARATOR
    return Folding(fold, np.zeros(len(fold), np.bool_))


@cache
def _punctuation() -> np.ndarray:
    r"""Code points of ``\p{P}``."""
    import unicodedata

    return np.array([c for c in range(0x110000) if unicodedata.category(chr(c))[0] == "P"], np.int64)


@cache
def _marks() -> frozenset[str]:
    return frozenset(map(chr, _punctuation()))


@lru_cache(maxsize=2)
def _processor(model: str) -> Any:
    sentencepiece = require("sentencepiece", extra="data", feature="SentencePiece tokens")
    try:
        return sentencepiece.SentencePieceProcessor(model_file=model)
    except OSError as error:
        raise ModelError(
            f'there is no SentencePiece model "{model}"',
            code="data.no-tokenizer",
            hint="set tokenizer_model to the path of a .model file",
        ) from error


def _pieces(texts: pl.Series, model: str) -> tuple[np.ndarray, np.ndarray]:
    ids = [np.array(found, np.uint64) for found in _processor(model).encode(texts.to_list(), out_type=int)]
    flat = np.concatenate([*ids, np.zeros(0, np.uint64)])
    spread = (flat + _SPREAD) * _PRIME
    return spread ^ (spread >> _SHIFT), starts_of(np.array([len(found) for found in ids], np.int64))


@compiled
def _single_tokens(
    data: np.ndarray, starts: np.ndarray, fold: np.ndarray, each: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for ``each`` character alone, or for what stands between separators, be it empty."""
    n = len(starts) - 1
    at, odd = np.zeros(n + 1, np.int64), np.zeros(n, np.bool_)
    out = np.empty(starts[n] - starts[0] + n, np.uint64)
    k = 0
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        h = waiting = length = NONE
        while i < end:
            c = np.int64(fold[point(data, i)])
            i += width(data[i])
            if c == CONTEXT:
                odd[d] = True
            elif c != SEPARATOR:
                h, waiting, length = fed_character(h, waiting, length, c)
            if c == SEPARATOR or each:
                out[k] = hashed(h, waiting, length)
                k += 1
                h = waiting = length = NONE
        if not each:
            out[k] = hashed(h, waiting, length)
            k += 1
        at[d + 1] = k
    return out[:k], at, odd


@compiled
def _spliced(
    hashes: np.ndarray, starts: np.ndarray, rows: np.ndarray, others: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Runs of values with those of some rows replaced by others."""
    n = len(starts) - 1
    counts = np.zeros(n + 1, np.int64)
    counts[1:] = starts[1:] - starts[:-1]
    for j in range(len(rows)):
        counts[rows[j] + 1] = at[j + 1] - at[j]
    new = np.cumsum(counts)
    out = np.empty(new[n], np.uint64)
    j = 0
    for d in range(n):
        if j < len(rows) and rows[j] == d:
            out[new[d] : new[d + 1]] = others[at[j] : at[j + 1]]
            j += 1
        else:
            out[new[d] : new[d + 1]] = hashes[starts[d] : starts[d + 1]]
    return out, new


@compiled
def _windows(tokens: np.ndarray, at: np.ndarray, size: int, starts: np.ndarray) -> np.ndarray:
    out = np.empty(starts[-1], np.uint64)
    for d in range(len(at) - 1):
        k = starts[d]
        for i in range(starts[d + 1] - k):
            h = np.uint64(0)
            for j in range(at[d] + i, at[d] + i + size):
                h = h * _PRIME + tokens[j]
            h = (h ^ (h >> _SHIFT)) * _MIX
            out[k + i] = h ^ (h >> _SHIFT)
    return out


@compiled
def distinct(hashes: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each value of each run."""
    n = len(starts) - 1
    out, at = np.empty(len(hashes), np.uint64), np.zeros(n + 1, np.int64)
    longest = 0
    for d in range(n):
        longest = max(longest, starts[d + 1] - starts[d])
    room = 16
    while room < 2 * longest:
        room *= 2
    table = np.zeros(room, np.uint64)
    k = 0
    for d in range(n):
        size = 16
        while size < 2 * (starts[d + 1] - starts[d]):
            size *= 2
        mask = np.uint64(size - 1)
        table[:size] = 0
        zero = False
        for i in range(starts[d], starts[d + 1]):
            value = hashes[i]
            if value == 0:
                if not zero:
                    zero = True
                    out[k] = value
                    k += 1
                continue
            slot = value & mask
            while table[slot] != 0 and table[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if table[slot] == 0:
                table[slot] = value
                out[k] = value
                k += 1
        at[d + 1] = k
    return out[:k].copy(), at
