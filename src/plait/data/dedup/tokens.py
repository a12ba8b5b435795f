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
from plait.data.swar import most_words
from plait.data.utf8 import NOTHING, buffers, compiled, fed_character, mixed, point, starts_of, width
from plait.errors import ModelError

Tokenization = Literal["space", "punctuation", "character", "sentencepiece"]
"""Tokens are what stands between blanks, what stands between punctuation marks (empty ones count), single
characters, or the pieces of a SentencePiece model: Data-Juicer's."""

AnyTokenization = Literal["space", "punctuation", "character", "sentencepiece", "word"]
"""Or words: runs of letters and digits."""

_FULL_STOP = "."
_SEPARATOR, _CONTEXT = -1, -2  # entries of a fold table that are no characters
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SPREAD = np.uint64(0xCBF29CE484222325)
_SHIFT, _EIGHT = np.uint64(32), np.uint64(8)


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
        kind = self.tokenization
        hashes, starts, odd = _tokens(*buffers(texts), *_tables(kind, lower))
        if not odd.any():
            return hashes, starts
        rows = np.flatnonzero(odd)
        lowered = texts.gather(rows).str.to_lowercase()
        again, at, _ = _tokens(*buffers(lowered), *_tables(kind, False))
        return _spliced(hashes, starts, rows, again, at)


def windows(tokens: np.ndarray, at: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of every run of ``size`` tokens, uint64, and where each text starts, int64 ``[texts + 1]``."""
    starts = starts_of(np.maximum(np.diff(at) - size + 1, 0))
    return _windows(tokens, at, size, starts), starts


@lru_cache(maxsize=8)
def _tables(separators: str, lower: bool) -> tuple[np.ndarray, int]:
    """What each code point becomes, int32 ``[1114112]``, and how tokens end.

    0: at separators; 1: at separators, and empty ones are kept; 2: after each character.
    """
    fold = characters.lower().copy() if lower else np.arange(len(characters.lower()), dtype=np.int32)
    if lower:
        fold[(characters.classes() & characters.CONTEXT) != 0] = _CONTEXT
    if separators == "space":
        fold[(characters.classes() & characters.BLANK) != 0] = _SEPARATOR
    elif separators == "word":
        fold[(characters.classes() & characters.ALNUM) == 0] = _SEPARATOR
    elif separators == "punctuation":
        fold[_punctuation()] = _SEPARATOR
    return fold, {"punctuation": 1, "character": 2}.get(separators, 0)


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
def _tokens(
    data: np.ndarray, starts: np.ndarray, fold: np.ndarray, ends: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of tokens, where each text's start, and which texts hold characters that fold by context."""
    n = len(starts) - 1
    at, odd = np.zeros(n + 1, np.int64), np.zeros(n, np.bool_)
    of = np.zeros(128, np.uint64)
    for b in range(128):
        of[b] = np.uint64(fold[b] + 1) if fold[b] >= 0 else NOTHING
    most = most_words(data, starts[0], starts[n]) if ends == 0 else starts[n] - starts[0]
    out = np.empty(most + n + 1, np.uint64)
    k = 0
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        h = NOTHING
        while i < end:
            b = data[i]
            if b < 0x80:
                # No branches: where tokens end cannot be guessed. What is written is left behind only there.
                byte = of[b]
                i += 1
                out[k] = h
                k += np.int64(byte == NOTHING) & np.int64((h != NOTHING) | (ends == 1))
                h = (h + (h << _EIGHT) + byte) & (NOTHING - np.uint64(byte != NOTHING))
            else:
                c = np.int64(fold[point(data, i)])
                i += width(b)
                if c == _CONTEXT:
                    odd[d] = True
                elif c >= 0:
                    h = fed_character(h, c)
                else:
                    out[k] = h
                    k += np.int64((h != NOTHING) | (ends == 1))
                    h = NOTHING
            if ends == 2:
                out[k] = h
                k += np.int64(h != NOTHING)
                h = NOTHING
        out[k] = h
        k += np.int64((h != NOTHING) | (ends == 1))
        at[d + 1] = k
    for j in range(k):
        out[j] = mixed(out[j])
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
