"""Mapper of HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from plait.core.optional import require
from plait.data.html_pieces import cheap, pieces
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    from plait.data.batch import Batch

_BLANKS = "\t\n\x0c "


class CleanHtmlMapper(Mapper):
    r"""Turns HTML into text; ``<li>`` and ``<ol>`` start a line with an asterisk.

    Example:
        - clean_html_mapper

        >>> CleanHtmlMapper().rewrite_texts(["<ol><li>one &amp; <b>two</b></li></ol>"])
        ['*\n*one & two']

    Source: Data-Juicer 1.6.1, ``clean_html_mapper`` (selectolax, its lexbor parser). Texts without markup are not
    parsed: an HTML parser takes nothing from them but blanks at the start. Long texts are parsed in pieces
    (`plait.data.html_pieces`), so that no nesting makes them slow.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    def rewrite(self, batch: Batch) -> pl.Series:
        """Parses the texts that hold a tag, an entity, a carriage return or a null character."""
        texts = batch.text(self.text_key)
        markup = texts.str.contains(r"[<&\r\x00]")
        blank = ~markup & texts.str.contains(r"\A[\t\n\x0c ]")
        texts = rewrite_where(texts, blank, lambda some: some.str.strip_chars_start(_BLANKS))
        return rewrite_where(texts, markup, _parsed)


def _parsed(texts: pl.Series) -> pl.Series:
    lexbor: Any = require("selectolax.lexbor", extra="data", feature="clean_html_mapper")
    listed = texts.str.replace_many(["<li>", "</li>", "<ol>", "</ol>"], ["\n*", "", "\n*", ""])

    def text_of(html: str) -> str:
        parts = [html] if cheap(html) else pieces(html)
        return "".join(lexbor.LexborHTMLParser(part).text() for part in parts)

    return pl.Series([text_of(html) for html in listed.to_list()], dtype=pl.String)
