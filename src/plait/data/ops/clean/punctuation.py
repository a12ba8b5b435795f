"""Mapper of punctuation marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch

_MARKS = {
    '"': "„”“«»」「《》",
    "'": "´’",
    ",": "，、",
    ".": "。",
    ":": "∶：",
    "?": "？",
    "!": "！",
    "(": "（",
    ")": "）",
    ";": "；",
    "-": "–━►",
    " - ": "—",
    ". ": "．",
    "~": "～",
    "...": "…",
    "<": "〈",
    ">": "〉",
    "[": "【",
    "]": "】",
    "%": "％",
}
"""ASCII by the Unicode marks it stands for."""


class PunctuationNormalizationMapper(Mapper):
    """Turns Unicode punctuation into ASCII.

    Example:
        - punctuation_normalization_mapper

        >>> PunctuationNormalizationMapper().rewrite_texts(["“好”，１…"])
        ['"好",１...']

    Source: Data-Juicer 1.6.1, ``punctuation_normalization_mapper``. Its table makes a quotation mark of the
    fullwidth digit one, which is no punctuation; here that digit stays, unless ``compat`` is ``data-juicer``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: a fullwidth digit one becomes a quotation mark."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Replaces all marks at once where there are any."""
        table = {mark: ascii_ for ascii_, marks in _MARKS.items() for mark in marks}
        if self.compat == "data-juicer":
            table["\uff11"] = '"'
        texts = batch.text(self.text_key)
        gate = texts.str.contains(f"[{''.join(table)}]")
        return rewrite_where(texts, gate, lambda some: some.str.replace_many(list(table), list(table.values())))
