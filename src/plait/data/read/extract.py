"""The text of one file: plain text as it is, HTML as a reader sees it, PDF and Word documents without their layout."""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from typing import Any

from plait.core.optional import require
from plait.data.html_pieces import cheap, is_deep, pieces

_MOST_UNPACKED = 256 << 20
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s{0,9}=\s{0,9}["']?\s{0,9}([\w.:-]{1,40})""", re.IGNORECASE)
_HIDDEN = "script, style, noscript, template, head, svg"
_LINE, _PARAGRAPH = "\x1e", "\x1d"
_KEPT = {" ": "\x1c", "\n": "\x1f", "\t": "\x1b"}  # blanks of preformatted text, until the others are gone
_TAG_OR_BLANK = re.compile(r"<[^>]*>|[ \n\t]")
_LINES = "br, li, tr, dt, dd, div, section, article, header, footer, aside, main, nav, option, summary"
_PARAGRAPHS = "p, h1, h2, h3, h4, h5, h6, ul, ol, dl, table, pre, blockquote, figure, figcaption, form, hr, details"
_BLANKS = re.compile(r"[^\S\x1c-\x1f]+")
_BREAKS = re.compile(r" ?[\x1d\x1e][\x1d\x1e ]*")


class Unreadable(Exception):
    """A file without text that can be read.

    Args:
        reason: Why, in few words and without values of the file: files are counted by it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def text_of(data: bytes, suffix: str) -> str:
    r"""The text of a file.

    Args:
        data: Its bytes.
        suffix: The end of its name, in lower case.

    Raises:
        Unreadable: It holds no text, or is damaged, encrypted, or in an encoding it does not declare.
        MissingExtra: The package that reads such files is not installed.

    Example:
        >>> text_of(b"one\r\ntwo", ".txt")
        'one\ntwo'
    """
    match suffix:
        case ".html" | ".htm" | ".xhtml":
            return _html(data)
        case ".pdf":
            return _pdf(data)
        case ".docx":
            return _word(data)
        case _:
            return _plain(data)


_MARKS = {
    "utf-8-sig": (codecs.BOM_UTF8,),
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # first: the mark of UTF-16 is the beginning of one
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


def _plain(data: bytes) -> str:
    if b"\0" in data and _marked_as(data) is None:
        raise Unreadable("binary file")
    return _decoded(data, "utf-8").replace("\r\n", "\n")


def _marked_as(data: bytes) -> str | None:
    """The encoding that a byte order mark tells."""
    return next((encoding for encoding, marks in _MARKS.items() if data.startswith(marks)), None)


def _decoded(data: bytes, encoding: str) -> str:
    encoding = _marked_as(data) or encoding
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8" if encoding.startswith("utf-8") else "not in its declared encoding") from error


def _html(data: bytes) -> str:
    parser = require("selectolax.lexbor", extra="data", feature="reading HTML")
    declared = _CHARSET.search(data[:4096])
    encoding = declared[1].decode("ascii") if declared else "utf-8"
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise Unreadable("unknown declared encoding") from error
    html = _decoded(data, encoding)
    # A parser takes time by the square of the nesting; text does not depend on it.
    parts = pieces(html, _PARAGRAPHS.split(", ")) if not cheap(html) and is_deep(html) else [html]
    text = "".join(_marked(parser.LexborHTMLParser(part)) for part in parts)
    text = _BREAKS.sub(lambda found: "\n\n" if _PARAGRAPH in found[0] else "\n", _BLANKS.sub(" ", text))
    return text.translate({ord(mark): blank for blank, mark in _KEPT.items()}).strip()


def _marked(tree: Any) -> str:
    """All text that is seen, with marks where lines and paragraphs end."""
    for node in tree.css(_HIDDEN):
        node.decompose()
    for node in tree.css("pre, textarea"):
        node.inner_html = _TAG_OR_BLANK.sub(lambda found: _KEPT.get(found[0], found[0]), node.inner_html.strip("\n"))
    for selector, mark in ((_LINES, _LINE), (_PARAGRAPHS, _PARAGRAPH), ("td, th", " ")):
        for node in tree.css(selector):
            node.insert_before(mark)
            node.insert_after(mark)
    return tree.body.text(deep=True) if tree.body is not None else ""


def _pdf(data: bytes) -> str:
    pypdf = require("pypdf", extra="data", feature="reading PDF")
    faults = (pypdf.errors.PyPdfError, *_PARSER_FAULTS)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF")
        pages = [page.extract_text().strip() for page in reader.pages]
    except faults as error:
        raise Unreadable("damaged PDF") from error
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise Unreadable("PDF without text")
    return text.encode("utf-8", "replace").decode()


def _word(data: bytes) -> str:
    docx = require("docx", extra="data", feature="reading Word documents")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_UNPACKED:
                raise Unreadable("Word document that unpacks to too much")
        document = docx.Document(io.BytesIO(data))
        parts = [_of_part(part) for part in document.iter_inner_content()]
    except (zipfile.BadZipFile, *_PARSER_FAULTS) as error:
        raise Unreadable("damaged Word document") from error
    return "\n".join(parts).strip()


def _of_part(part: Any) -> str:
    rows = getattr(part, "rows", None)
    if rows is None:
        return str(part.text)
    return "\n".join("\t".join(cell.text.strip() for cell in row.cells) for row in rows)


_PARSER_FAULTS = (ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, RecursionError, OSError)
"""What parsers of PDF and Word let through on damaged files, besides errors of their own."""
