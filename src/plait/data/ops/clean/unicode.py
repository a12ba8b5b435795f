"""Mapper of characters that went wrong."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import field_validator

from plait.core.optional import require
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.lines import cut, judge_lines, judge_strings, replace_characters
from plait.data.ops.clean.mojibake import ASK, ENTITY, SIMPLE, UNSTABLE, Form, tables
from plait.data.ops.clean.splice import splice, strings
from plait.data.utf8 import buffers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.batch import Batch

_SEGMENT = 1_000_000  # characters ftfy looks at together at most
_REPEATED = 500  # characters; longer lines are rarely seen twice
_REMEMBERED = 1 << 13  # lines, some megabytes: most of those seen again come soon
_NESTED = re.compile(r"&((?:amp;|AMP;|#38;|#x26;){2})(?:amp;|AMP;|#38;|#x26;)+")


class FixUnicodeMapper(Mapper):
    """Repairs mojibake, HTML entities, odd quotes and control characters, and normalises the Unicode form.

    Example:
        - fix_unicode_mapper

        >>> FixUnicodeMapper().rewrite_texts(["cafÃ© &amp; bar"])
        ['café & bar']

    Source: Data-Juicer 1.6.1, ``fix_unicode_mapper`` (``ftfy.fix_text`` 6.3). Lines that may hold mojibake or
    entities go through ftfy; quotes, ligatures, widths and line breaks of all others are replaced by table.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    normalization: Form = "NFC"
    """Unicode form of the result."""

    @field_validator("normalization", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) and value else (value or "NFC")

    def rewrite(self, batch: Batch) -> pl.Series:
        """Finds the lines that may change, changes them, and puts them back."""
        texts = batch.text(self.text_key)
        data, starts = buffers(texts)
        spans, needs, unescape, long = judge_lines(data, starts, tables(self.normalization), _SEGMENT)
        if len(spans):
            new, new_starts = buffers(self._changed(data, spans, needs, unescape))
            texts = splice(data, starts, spans, new, new_starts)
        if long.any():
            rows = np.flatnonzero(long)
            fixed = [_fix_whole(text, self.normalization) for text in texts.gather(rows).to_list()]
            texts = texts.clone().scatter(rows, pl.Series(fixed, dtype=pl.String))
        return texts

    def _changed(self, data: np.ndarray, spans: np.ndarray, needs: np.ndarray, unescape: np.ndarray) -> pl.Series:
        """What becomes of some lines.

        One round of ftfy's steps, of which only the search for mojibake is left to ftfy. Then all are judged again,
        because its rounds go on until nothing changes: those that need more after all continue in ftfy.
        """
        form, whole = self.normalization, tables(self.normalization)
        lines = strings(*cut(data, spans))
        once = lines.clone()
        for need, step in ((ENTITY, _unescaped), (ASK, _decoded)):
            some = np.flatnonzero(needs & need)
            if len(some):
                once = once.scatter(some, step(once.gather(some).to_list()))
                needs[some] = judge_strings(*buffers(once.gather(some)), whole, np.zeros(len(some), np.bool_))
        once = strings(*replace_characters(*buffers(once), needs & (ASK | SIMPLE) == SIMPLE, whole))
        unstable = np.flatnonzero(needs & (ASK | UNSTABLE) == UNSTABLE)
        if len(unstable):
            once = once.scatter(unstable, _normalised(once.gather(unstable).to_list(), form))
        again = judge_strings(*buffers(once), whole, unescape)
        more = np.flatnonzero((again & (ASK | ENTITY | SIMPLE) != 0) & (needs & ASK == 0))
        if len(more):
            once = once.scatter(more, self._asked(once.gather(more).to_list(), unescape[more]))
        asked = np.flatnonzero(needs & ASK)
        if len(asked):
            once = once.scatter(asked, self._asked(lines.gather(asked).to_list(), unescape[asked]))
        return once

    def _asked(self, lines: Sequence[str], unescape: np.ndarray) -> pl.Series:
        fixed = [
            _fix(line, entities, self.normalization) for line, entities in zip(lines, unescape.tolist(), strict=True)
        ]
        return pl.Series(fixed, dtype=pl.String)


def _unescaped(lines: list[str]) -> pl.Series:
    fixes: Any = require("ftfy.fixes", extra="data", feature="fix_unicode_mapper")
    return pl.Series([fixes.unescape_html(line) for line in lines], dtype=pl.String)


def _fix(line: str, unescape: bool, form: Form) -> str:
    ftfy: Any = require("ftfy", extra="data", feature="fix_unicode_mapper")
    if unescape:
        # ftfy resolves one level of "&amp;amp;amp;" per round; where there are many, that takes forever.
        line = _NESTED.sub(r"&\1", line)
    config = ftfy.TextFixerConfig(unescape_html=unescape, normalization=form, explain=False)
    return ftfy.fix_and_explain(line, config).text


def _decoded(lines: list[str]) -> pl.Series:
    return pl.Series(
        [_decode_once(line) if len(line) <= _REPEATED else _decode(line) for line in lines], dtype=pl.String
    )


def _decode(line: str) -> str:
    """The line as it was before it was read in another encoding."""
    ftfy: Any = require("ftfy", extra="data", feature="fix_unicode_mapper")
    return ftfy.fix_encoding_and_explain(line, _decoding()).text


_decode_once = lru_cache(_REMEMBERED)(_decode)


@cache
def _decoding() -> Any:
    ftfy: Any = require("ftfy", extra="data", feature="fix_unicode_mapper")
    return ftfy.TextFixerConfig(explain=False)


def _fix_whole(text: str, form: Form) -> str:
    """A text with a line so long that ftfy cuts it."""
    parts = list[str]()
    unescape = True
    for line in re.split(r"(?<=\n)", text):
        for at in range(0, len(line), _SEGMENT):
            segment = line[at : at + _SEGMENT]
            unescape = unescape and "<" not in segment
            parts.append(_fix(segment, unescape, form))
    return "".join(parts)


def _normalised(lines: list[str], form: Form) -> pl.Series:
    """All in one call: a control character, of which the lines hold none, keeps them apart."""
    return pl.Series(unicodedata.normalize(form, "\0".join(lines)).split("\0"), dtype=pl.String)
