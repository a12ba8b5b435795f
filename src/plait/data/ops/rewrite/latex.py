"""Mappers of LaTeX sources: macros, comments, what stands before the first header and after the last page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

import polars as pl

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    from plait.data.batch import Batch

_HEADERS = "chapter|part|section|subsection|subsubsection|paragraph|subparagraph"
_FROM_HEADER = rf"(?s)(\\(?:{_HEADERS})\*?(?:\[.*?\])?\{{.*?\}}.*)"
_BACK_MATTER = (
    r"(?s)(?:\\appendix|\\begin\{references\}|\\begin\{REFERENCES\}|\\begin\{thebibliography\}|\\bibliography\{.*\}).*"
)
# What the regex engine of Data-Juicer takes for a blank; str.isspace has four control characters more.
_BLANKS = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*"
_DEFINITIONS = (
    re.compile(r"\\newcommand\*?\{(\\[a-zA-Z0-9]+)\}\{"),
    re.compile(rf"\\def{_BLANKS}(\\[a-zA-Z0-9]+){_BLANKS}\{{"),
)


class ExpandMacroMapper(Mapper):
    r"""Puts the value of each macro without arguments where the macro stands.

    Macros are those that ``\newcommand{\name}{value}`` or ``\def\name{value}`` defines, where the value ends with
    the line. The definition's own ``\name`` is replaced, too.

    Example:
        - expand_macro_mapper

        >>> ExpandMacroMapper().rewrite_texts(["\\def\\R{real}\nA \\R line"])
        ['\\defreal{real}\nA real line']

    Source: Data-Juicer 1.6.1, ``expand_macro_mapper``. Differs: a macro right after another one, or at the very
    end, is replaced as well (`compat`), and texts that would take memory or time without bounds stay (`max_growth`,
    `max_macros`).
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    max_growth: int = 100
    """A text that would become this many times longer stays as it was: macros that use each other twice can
    double it without end."""
    max_macros: int = 1000
    """A text that defines more macros than this stays as it was: each takes a pass over the text."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: of two macros side by side only the first is replaced."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Looks only at texts that define something."""
        texts = batch.text(self.text_key)
        gate = texts.str.contains(r"\\(?:newcommand|def)")
        return rewrite_where(texts, gate, lambda some: pl.Series([self._expand(t) for t in some], dtype=pl.String))

    def _expand(self, text: str) -> str:
        expanded = text
        most = max(len(text), 1) * self.max_growth
        macros = definitions(text)
        if len(macros) > self.max_macros:
            return text
        for name, value in macros.items():
            if name not in expanded:
                continue
            # The patterns are a literal and one class, so each pass is linear.
            if self.compat == "data-juicer":
                pattern = re.compile(re.escape(name) + "([^a-zA-Z0-9])")
                places = len(pattern.findall(expanded))
            else:
                pattern = re.compile(re.escape(name) + "(?![a-zA-Z0-9])()")
                places = len(pattern.findall(expanded))
            if len(expanded) + places * (len(value) - len(name)) > most:
                return text
            expanded = pattern.sub(lambda found, value=value: value + found[1], expanded)
        return expanded


class RemoveBibliographyMapper(Mapper):
    r"""Cuts a LaTeX text at its appendix or bibliography.

    Example:
        - remove_bibliography_mapper

        >>> RemoveBibliographyMapper().rewrite_texts([r"The end.\appendix More."])
        ['The end.']

    Source: Data-Juicer 1.6.1, ``remove_bibliography_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    def rewrite(self, batch: Batch) -> pl.Series:
        """One pass of a linear pattern, over texts with a command it knows."""
        texts = batch.text(self.text_key)
        gate = texts.str.contains(r"\\(?:appendix|bibliography\{|begin\{)")
        return rewrite_where(texts, gate, lambda some: some.str.replace(_BACK_MATTER, ""))


class RemoveCommentsMapper(Mapper):
    r"""Removes the comments of a LaTeX text.

    Example:
        - remove_comments_mapper: {inline: true, multiline: true}

        >>> RemoveCommentsMapper().rewrite_texts(["% all of it\nkept% not this\n10\\% too"])
        ['kept\n10\\% too']

    Source: Data-Juicer 1.6.1, ``remove_comments_mapper``. Differs: the character before ``%`` stays (`compat`).
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    doc_type: str | list[str] = "tex"
    """Kind of documents; only ``tex`` is known."""
    inline: bool = True
    """Remove comments at the end of lines."""
    multiline: bool = True
    """Remove lines that are comments."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: the character before a comment goes with it, be it the end of the line
    before."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Two linear patterns, over texts with a percent sign."""
        texts = batch.text(self.text_key)
        return rewrite_where(texts, texts.str.contains("%", literal=True), self._strip)

    def _strip(self, texts: pl.Series) -> pl.Series:
        if self.inline and self.compat == "data-juicer":
            texts = texts.str.replace_all(r"(?m)[^\\]%.+$", "")
        elif self.inline:
            texts = texts.str.replace_all(r"(?m)([^\\\n])%.+$", "${1}")
        return texts.str.replace_all(r"(?m)^%.*\n?", "") if self.multiline else texts


class RemoveHeaderMapper(Mapper):
    r"""Cuts what stands before the first header (``\section{…}`` and the like) of a LaTeX text.

    Example:
        - remove_header_mapper: {drop_no_head: true}

        >>> RemoveHeaderMapper().rewrite_texts([r"\title{T}\section{One} text", "no header"])
        ['\\section{One} text', '']

    Source: Data-Juicer 1.6.1, ``remove_header_mapper``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    drop_no_head: bool = True
    """Empty the texts that have no header."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """One pass of a linear pattern, over texts with a backslash."""
        texts = batch.text(self.text_key)
        gate = texts.str.contains("\\", literal=True)
        if self.drop_no_head:
            cut = texts.set(~gate, "") if not gate.all() else texts
            return rewrite_where(cut, gate, lambda some: some.str.extract(_FROM_HEADER).fill_null(""))
        return rewrite_where(
            texts, gate, lambda some: some.str.extract(_FROM_HEADER).zip_with(some.str.contains(_FROM_HEADER), some)
        )


def definitions(text: str) -> dict[str, str]:
    r"""Macros without arguments that a text defines, each with its value, which ends with the line.

    Example:
        >>> definitions("\\newcommand{\\a}{one} \n\\newcommand{\\b}{two}")
        {'\\b': 'two'}
    """
    found = dict[str, str]()
    for head in _DEFINITIONS:
        at, line_end = 0, -1
        while match := head.search(text, at):
            if line_end < match.end():
                line_end = text.find("\n", match.end())
                line_end = len(text) if line_end < 0 else line_end
            # The value reaches to the brace that closes the line: no search, so many definitions cost no more.
            if line_end > match.end() and text[line_end - 1] == "}":
                found[match[1]] = text[match.end() : line_end - 1]
                at = line_end
            else:
                at = match.start() + 1
    return found
