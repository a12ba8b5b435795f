"""A mapper that takes the tables out of web pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from plait.core.optional import require
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.llm.meta import META, with_meta

if TYPE_CHECKING:
    from plait.data.batch import Batch


class ExtractTablesFromHtmlMapper(Mapper):
    """Writes the tables of a web page, cell by cell, into what is known of the row; the text stays.

    Example:
        - extract_tables_from_html_mapper: {retain_html_tags: false, include_header: true}

        >>> from plait.data.batch import Batch
        >>> page = Batch.of_texts(["<table><tr><th>n</th></tr><tr><td>1</td></tr></table>"])
        >>> ExtractTablesFromHtmlMapper().apply(page).column("__dj__meta__.html_tables").to_list()
        [[[['n'], ['1']]]]

    Source: Data-Juicer 1.6.1, ``extract_tables_from_html_mapper``. Differs: pages are parsed as browsers do, so a
    cell that is never closed ends where the next one starts, and tags that are kept have their ``<tbody>``.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    tables_field_name: str = "html_tables"
    """Field for the tables: of each its rows, of each its cells."""
    retain_html_tags: bool = False
    """Keep each table as HTML instead of its cells."""
    include_header: bool = True
    """Keep rows with header cells; not for tables kept as HTML."""

    def apply(self, batch: Batch) -> Batch:
        """Parses only texts with a table in them; a field that is there already stays."""
        known = batch.frame.schema.get(META)
        if isinstance(known, pl.Struct) and self.tables_field_name in {field.name for field in known.fields}:
            return batch
        texts = batch.text(self.text_key)
        parser: Any = require("selectolax.lexbor", extra="data", feature="extract_tables_from_html_mapper")
        gate = texts.str.contains("(?i)<table").to_list()
        found = [self._tables(parser, text) if may else [] for text, may in zip(texts, gate, strict=True)]
        kind = pl.List(pl.String) if self.retain_html_tags else pl.List(pl.List(pl.List(pl.String)))
        return with_meta(batch, {self.tables_field_name: found}, {self.tables_field_name: kind})

    def _tables(self, parser: Any, text: str) -> list[Any]:
        tables = parser.LexborHTMLParser(text).css("table")
        if self.retain_html_tags:
            return [table.html for table in tables]
        cells = [[cells for row in table.css("tr") if (cells := self._cells(row))] for table in tables]
        return [rows for rows in cells if rows]

    def _cells(self, row: Any) -> list[str]:
        cells = [node for node in row.iter() if node.tag in ("td", "th")]
        if not self.include_header and any(node.tag == "th" for node in cells):
            return []
        return [str(node.text(deep=True, separator="", strip=True)) for node in cells]
