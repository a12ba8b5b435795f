"""Mapper of copyright comments in code."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch

_COMMENT = r"(?s)/\*.*?\*/"
_HEAD = r"\A(?:(?:(?://|#|--)[^\n]*)?\n)*(?:(?://|#|--)[^\n]*\z)?"
"""Leading lines that are empty or start with the sign of a comment."""


class CleanCopyrightMapper(Mapper):
    r"""Removes the copyright comment of source code.

    The first ``/* */`` comment goes if it says "copyright"; where there is no such comment at all, leading lines go
    that are empty or start with ``//``, ``#`` or ``--``.

    Example:
        - clean_copyright_mapper

        >>> CleanCopyrightMapper().rewrite_texts(["/* Copyright us */ code", "# by us\n\ncode"])
        [' code', 'code']

    Source: Data-Juicer 1.6.1, ``clean_copyright_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    def rewrite(self, batch: Batch) -> pl.Series:
        """Both kinds as whole columns."""
        texts = batch.text(self.text_key)
        comment = texts.str.extract(f"({_COMMENT})")
        notice = comment.str.contains("(?i)copyright").fill_null(value=False)
        texts = rewrite_where(texts, notice, lambda some: some.str.replace(_COMMENT, "", n=1))
        head = comment.is_null() & texts.str.contains(r"\A(?:\n|//|#|--)")
        return rewrite_where(texts, head, lambda some: some.str.replace(_HEAD, "", n=1))
