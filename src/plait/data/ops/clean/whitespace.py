"""Mappers of blanks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.data.op import Mapper

if TYPE_CHECKING:
    import polars as pl

# Python's str.strip() also removes these four, which Unicode does not call white space.
_PYTHON_ONLY = "\x1c\x1d\x1e\x1f"
_STRIPPED = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
) + _PYTHON_ONLY
_BLANKS = r"[\t\x{84}\x{a0}\x{2000}-\x{200d}\x{202f}\x{205f}\x{2060}\x{3000}\x{fffc}]"


class WhitespaceNormalizationMapper(Mapper):
    r"""Strips the text and turns every kind of blank inside it into a space; newlines stay.

    Example:
        - whitespace_normalization_mapper

        >>> WhitespaceNormalizationMapper().rewrite_texts(["  one\ttwo\n"])
        ['one two']

    Source: Data-Juicer 1.6.1, ``whitespace_normalization_mapper``.
    """

    def rewrite(self, text: pl.Expr) -> pl.Expr:
        """Strip, then replace: a zero-width blank at an end becomes a space that stays, as in Data-Juicer."""
        return text.str.strip_chars(_STRIPPED).str.replace_all(_BLANKS, " ")
