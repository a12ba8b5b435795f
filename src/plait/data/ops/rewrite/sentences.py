"""Mappers of sentences: repeated ones go; one sentence per line."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import model_validator

from plait.data.batch import session
from plait.data.characters import BLANK, CONTEXT, classes, lower
from plait.data.loops import compiled
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import strings
from plait.data.ops.rewrite.trusted import compile_lambda, require_trust
from plait.data.utf8 import buffers, point, width

if TYPE_CHECKING:
    from collections.abc import Callable

    from plait.data.batch import Batch

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT = np.uint64(32)
_ONE = np.uint64(1)


class RemoveRepeatSentencesMapper(Mapper):
    """Removes every sentence that stood in the same text before.

    Sentences end with their line, after ``. 。 ! ！ ? ？`` and ``……``, and after a closing quotation mark that
    follows one of them.

    Example:
        - remove_repeat_sentences_mapper: {lowercase: true}

        >>> RemoveRepeatSentencesMapper().rewrite_texts(["Buy now! It works. Buy now!"])
        ['Buy now! It works.']

    Source: Data-Juicer 1.6.1, ``remove_repeat_sentences_mapper``. Differs: a ``tokenizer`` is your own code and
    runs only with ``trust_code``.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    lowercase: bool = False
    """Compare in lower case."""
    ignore_special_character: bool = True
    """Compare only Chinese characters, ASCII letters and digits, spaces and tabs."""
    min_repeat_sentence_length: int = 2
    """Sentences with fewer characters, of those compared, always stay."""
    tokenizer: str | None = None
    """A lambda of one argument that gives the sentences of a line, instead of the rules above."""
    trust_code: bool = False
    """Run ``tokenizer``, which can do whatever you can: say true only if you know who wrote the recipe."""

    @model_validator(mode="after")
    def _trusted(self) -> Self:
        if self.tokenizer is not None:
            require_trust(self.trust_code, "tokenizer")
            compile_lambda(self.tokenizer)
        return self

    def rewrite(self, batch: Batch) -> pl.Series:
        """One compiled pass; Python for rows whose lower case depends on the context, or with a tokenizer."""
        texts = batch.text(self.text_key)
        if self.tokenizer is not None:
            split = session(self, lambda: compile_lambda(self.tokenizer or ""))
            return pl.Series([self._by_row(text, _spaced(split)) for text in texts], dtype=pl.String)
        data, starts = buffers(texts)
        out, out_starts, odd = _without_repeats(
            data,
            starts,
            classes(),
            lower(),
            self.lowercase,
            self.ignore_special_character,
            self.min_repeat_sentence_length,
        )
        result = strings(out, out_starts)
        rows = np.flatnonzero(odd)
        if len(rows) == 0:
            return result
        exact = [self._by_row(text, _sentences_of) for text in texts.gather(rows).to_list()]
        return result.clone().scatter(rows, pl.Series(exact, dtype=pl.String))

    def _by_row(self, text: str, split: Callable[[str], list[str]]) -> str:
        seen = set[str]()
        lines = list[str]()
        for line in text.split("\n"):
            kept = list[str]()
            for sentence in split(line) if line else []:
                compared = sentence.strip()
                compared = compared.lower() if self.lowercase else compared
                if self.ignore_special_character:
                    compared = "".join(c for c in compared if _is_plain(c))
                if len(compared) >= self.min_repeat_sentence_length:
                    if compared in seen:
                        continue
                    seen.add(compared)
                kept.append(sentence)
            lines.append("".join(kept))
        return "\n".join(lines)


class SentenceSplitMapper(Mapper):
    r"""Puts each sentence on a line of its own.

    Example:
        - sentence_split_mapper: {lang: en, splitter: rules}

        >>> SentenceSplitMapper(splitter="rules").rewrite_texts(["Dr. Who came. She left at 5 p.m. sharp!"])
        ['Dr. Who came.\nShe left at 5 p.m. sharp!']

    Source: Data-Juicer 1.6.1, ``sentence_split_mapper``. Differs: Punkt's data is a folder that you name, or one
    that NLTK finds on this machine, never a download; ``splitter: rules`` needs no data.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    lang: Literal["en", "fr", "pt", "es"] = "en"
    """Language of the texts."""
    splitter: Literal["punkt", "rules"] = "punkt"
    """``punkt``: NLTK's trained model; ``rules``: ends of sentences that no known abbreviation explains."""
    punkt_path: str | None = None
    """Folder of the language in NLTK's ``punkt_tab`` (``…/tokenizers/punkt_tab/english``)."""

    def ready(self) -> None:
        """Looks for the data of Punkt."""
        if self.splitter == "punkt":
            from plait.data.ops.rewrite.splitters import punkt

            punkt(self.lang, self.punkt_path)

    def rewrite(self, batch: Batch) -> pl.Series:
        """Splits row by row."""
        from plait.data.ops.rewrite.splitters import punkt, rules

        split = (
            (lambda text: rules(text, self.lang))
            if self.splitter == "rules"
            else session(self, lambda: punkt(self.lang, self.punkt_path))
        )
        return pl.Series(["\n".join(split(text)) for text in batch.text(self.text_key)], dtype=pl.String)


def _is_plain(c: str) -> bool:
    return (c.isascii() and c.isalnum()) or "\u4e00" <= c <= "\u9fa5" or c in "\n\t "


def _spaced(split: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Sentences of a splitter that drops the blanks between them, with a space put back."""
    return lambda line: [
        " " + sentence if i and not sentence[:1].isspace() else sentence for i, sentence in enumerate(split(line))
    ]


def _sentences_of(line: str) -> list[str]:
    """The sentences of one line, as the compiled loop splits it."""
    raw = line.encode()
    data = np.frombuffer(raw, np.uint8)
    ends = np.empty(len(raw) + 1, np.int64)
    count = _split(data, 0, len(raw), ends)
    starts = [0, *ends[:count].tolist()]
    return [raw[a:b].decode() for a, b in pairwise(starts)]


@compiled
def _is_quote(code: int) -> bool:
    return code == 0x2019 or code == 0x201D


@compiled
def _split(data: np.ndarray, start: int, end: int, ends: np.ndarray) -> int:
    """Where the sentences of a text end; those of a line with its newline as one more, which stays.

    Data-Juicer runs three patterns one after the other. Each consumes the character after a sentence, so each
    goes on behind it: ``free_…`` is where. None of them sees what another has put in.
    """
    count = 0
    free_mark = free_dots = free_quote = start
    pending = -1
    i = start
    while i < end:
        if i == pending:
            ends[count] = i
            count += 1
            pending = -1
        b = data[i]
        if b == 10:
            if i > (ends[count - 1] if count else start):
                ends[count] = i
                count += 1
            i += 1
            ends[count] = i
            count += 1
            continue
        size = width(b)
        # First bytes of what can end a sentence, or stand before a closing quotation mark.
        if (
            b == 46
            or b == 33
            or b == 63
            or b == 54
            or b == 50
            or b == 123
            or b == 125
            or b == 0xE2
            or b == 0xE3
            or b == 0xEF
        ):
            code = point(data, i)
            mark = code == 46 or code == 33 or code == 63 or code == 0x3002 or code == 0xFF01 or code == 0xFF1F
            dots = code == 0x2026
            after = i + size
            if (mark or dots or b < 0x80) and after < end and data[after] != 10:
                next_code = point(data, after)
                beyond = after + width(data[after])
                if mark and i >= free_mark and not _is_quote(next_code):
                    pending = after
                    free_mark = beyond
                if beyond < end and data[beyond] != 10 and not _is_quote(point(data, beyond)):
                    if dots and next_code == 0x2026 and i >= free_dots:
                        pending = beyond
                        free_dots = beyond + width(data[beyond])
                    if _is_quote(next_code) and i >= free_quote:
                        pending = beyond
                        free_quote = beyond + width(data[beyond])
        i += size
    if end > start and (count == 0 or ends[count - 1] < end):
        ends[count] = end
        count += 1
    return count


@compiled
def _key(
    data: np.ndarray, start: int, end: int, kinds: np.ndarray, low: np.ndarray, lowercase: bool, plain_only: bool
) -> tuple[np.uint64, int]:
    """Hash and number of the characters that are compared."""
    while start < end and kinds[point(data, start)] & BLANK:
        start += width(data[start])
    while end > start:
        last = end - 1
        while (data[last] & 0xC0) == 0x80:
            last -= 1
        if not kinds[point(data, last)] & BLANK:
            break
        end = last
    h, count = _FNV_OFFSET, 0
    i = start
    while i < end:
        code = point(data, i)
        i += width(data[i])
        if lowercase:
            # İ is i and a dot above it, of which only the i can count; rows where both do are done one by one.
            code = 0x69 if code == 0x130 else np.int64(low[code])
        if plain_only:
            letter = (48 <= code <= 57) or (65 <= code <= 90) or (97 <= code <= 122)
            if not (letter or 0x4E00 <= code <= 0x9FA5 or code == 32 or code == 9 or code == 10):
                continue
        h = (h ^ np.uint64(code)) * _FNV_PRIME
        h ^= h >> _SHIFT
        count += 1
    h = (h ^ (h >> _SHIFT)) * _MIX
    return h ^ (h >> _SHIFT), count


@compiled
def _without_repeats(
    data: np.ndarray,
    starts: np.ndarray,
    kinds: np.ndarray,
    low: np.ndarray,
    lowercase: bool,
    plain_only: bool,
    least: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(starts) - 1
    out = np.empty(starts[n] - starts[0], np.uint8)
    out_starts = np.zeros(n + 1, np.int64)
    odd = np.zeros(n, np.bool_)
    longest = np.int64(0)
    for d in range(n):
        longest = max(longest, starts[d + 1] - starts[d])
    ends = np.empty(2 * longest + 2, np.int64)
    k = 0
    for d in range(n):
        i, end = starts[d], starts[d + 1]
        count = _split(data, i, end, ends)
        if lowercase and not plain_only:
            j = i
            while j < end and not odd[d]:
                odd[d] = (kinds[point(data, j)] & CONTEXT) != 0
                j += width(data[j])
        size = 16
        while size < 2 * count:
            size *= 2
        table, used = np.zeros(size, np.uint64), np.zeros(size, np.bool_)
        mask = np.uint64(size - 1)
        for s in range(count):
            stop = ends[s]
            keep = True
            if not (stop - i == 1 and data[i] == 10):
                h, length = _key(data, i, stop, kinds, low, lowercase, plain_only)
                if length >= least:
                    slot = h & mask
                    while used[slot] and table[slot] != h:
                        slot = (slot + _ONE) & mask
                    keep = not used[slot]
                    used[slot] = True
                    table[slot] = h
            if keep:
                out[k : k + stop - i] = data[i:stop]
                k += stop - i
            i = stop
        out_starts[d + 1] = k
    return out[:k], out_starts, odd
