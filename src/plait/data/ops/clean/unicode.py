"""Mappers of characters that went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plait.core.optional import require
from plait.data.op import Mapper

if TYPE_CHECKING:
    import polars as pl

_MAY_CHANGE = r"[^\t\n\x20-\x25\x27-\x7e]"
"""Text of tabs, newlines and printable ASCII without ``&`` is never changed by ftfy."""


class FixUnicodeMapper(Mapper):
    """Repairs mojibake, HTML entities, odd quotes and control characters, and normalises the Unicode form.

    Example:
        - fix_unicode_mapper

        >>> FixUnicodeMapper().rewrite_texts(["cafÃ© &amp; bar"])
        ['café & bar']

    Source: Data-Juicer 1.6.1, ``fix_unicode_mapper`` (``ftfy.fix_text``).
    """

    python_rows = True

    normalization: Literal["NFC", "NFKC", "NFD", "NFKD"] = "NFC"
    """Unicode form of the result."""

    def rewrite(self, text: pl.Expr) -> pl.Expr:
        """Runs ftfy over the texts it can change, and over no other."""
        import polars as pl

        ftfy = require("ftfy", extra="data", feature="fix_unicode_mapper")

        def fix(texts: pl.Series) -> pl.Series:
            changed = [ftfy.fix_text(t, normalization=self.normalization) for t in texts]
            return pl.Series(texts.name, changed, dtype=pl.String)

        def fix_some(texts: pl.Series) -> pl.Series:
            may_change = texts.str.contains(_MAY_CHANGE)
            if not may_change.any():
                return texts
            return texts.scatter(may_change.arg_true(), fix(texts.filter(may_change)))

        return text.map_batches(fix_some, return_dtype=pl.String, is_elementwise=True)
