"""Long HTML in pieces, so that an HTML parser takes time in proportion to its length.

The HTML standard looks through all open elements at many tags, through all attributes of a tag at each of them, and
opens formatting elements again in every paragraph: what a parser spends grows with the square of the nesting. A page
whose tags all stay open (500 kB) took half a minute. Text does not depend on nesting, so a long page is parsed some
thousand tags at a time, without attributes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection

SHORT, SHORTER = 65_536, 8_192
"""Characters below which no page takes long: with a few formatting elements that differ, and with any."""
FORMATTING = 64
"""Formatting elements with attributes that count as a few."""
WHOLE_TAGS = 8_000
"""A page of fewer tags is parsed as one piece."""
PIECE_TAGS = 2_000
"""Tags after which a page is cut: at the next place outside of tables and other elements that say where text goes."""
LONGEST_PIECE_TAGS = 4 * PIECE_TAGS
"""Tags after which it is cut in any case."""

DEEPEST = 256
"""Elements that may lie in each other in a page that is parsed as it is; pages that people read have some dozens."""
LONGEST_TAG = 65_536
"""Characters of a tag in such a page."""

LONGEST_ASIDE = 1_024
"""Characters of a comment or a script that may stand after an element in which a parser could see it as tags."""

_RAW = ("iframe", "noembed", "noframes", "script", "style", "textarea", "title", "xmp")
_RAW_END = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.IGNORECASE) for name in _RAW}
_RAW_END["plaintext"] = re.compile(r"(?!)")
_ARRANGING = frozenset({"math", "select", "svg", "table", "template"})
_DOUBTFUL = frozenset({"frameset", "math", "select", "svg", "template"})
_LEAVES_SVG = re.compile(r"color|face|size", re.IGNORECASE)

_VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
_ENDED_BY_THE_NEXT = ("dd", "dt", "li", "option", "p", "rp", "rt", "tbody", "td", "tfoot", "th", "thead", "tr")
_NOT_NESTED = frozenset({*_VOID, *_ENDED_BY_THE_NEXT})

_FORMATTING = re.compile(r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)[\t\n\f\r /]", re.IGNORECASE)

# No part gives back what it took, and each ends at the end of the text too: one look at every character.
_TOKEN = re.compile(
    r"""
    <!--(?:-?>|.*?(?:--!?>|\Z))
    |<[!?][^>]*+>?
    |</(?![A-Za-z])[^>]*+>?
    |<(?P<slash>/?)(?P<name>[A-Za-z][^\t\n\f\r\ />]*+)
     (?:[\t\n\f\r\ ]++
       |/(?!>)
       |[^\t\n\f\r\ />][^\t\n\f\r\ />=]*+
        (?:[\t\n\f\r\ ]*+=[\t\n\f\r\ ]*+
          (?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\t\n\f\r\ >"'][^\t\n\f\r\ >]*+|(?=>)|\Z))?+
     )*+
     (?P<end>/?>|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)


def cheap(html: str) -> bool:
    """Whether a page is parsed soon enough as it is, whatever is in it.

    Example:
        >>> cheap("<p>one"), cheap("<div>" * 100_000)
        (True, False)
    """
    return len(html) <= SHORTER or (len(html) <= SHORT and len(_FORMATTING.findall(html)) <= FORMATTING)


def is_deep(html: str) -> bool:
    """Whether more elements may lie in each other, or a tag is longer, than in pages that people read.

    Example:
        >>> is_deep("<p>one<p>two" * 1000), is_deep("<div><p>one" * 1000)
        (False, True)
    """
    still_open = Counter[str]()
    depth = at = 0
    while found := _TOKEN.search(html, at):
        at = found.end()
        name = (found["name"] or "").lower()
        if at - found.start() > LONGEST_TAG:
            return True
        if not found["slash"] and name in _RAW_END:
            end = _RAW_END[name].search(html, at)
            at = end.start() if end else len(html)
        elif found["slash"] and still_open[name]:
            still_open[name] -= 1
            depth -= 1
        elif name and not found["slash"] and name not in _NOT_NESTED:
            still_open[name] += 1
            depth += 1
            if depth > DEEPEST:
                return True
    return False


def pieces(html: str, before: Collection[str] | None = None) -> list[str]:
    """A page without its attributes, cut into pieces whose texts, one after the other, are the text of the page.

    Text that the standard moves or leaves out stays where it is written if it stands more than `LONGEST_PIECE_TAGS`
    tags into the table, select, template, svg or math element that is the reason. A page of fewer than `WHOLE_TAGS`
    tags is one piece. Where a script, style, title or textarea is an element like others (in svg, math, frameset), a
    comment in it that reaches over its end may come out differently.

    Args:
        html: The page.
        before: Elements before which it is cut, where there is one in time; any when not given.

    Example:
        >>> pieces('<p class="a">one <b id=b>two</b>')
        ['<p>one <b>two</b>']
    """
    out = list[str]()
    at = tags = since = inside = 0
    doubtful = False
    cuts, needed = list[int](), list[int]()
    while found := _TOKEN.search(html, at):
        out.append(html[at : found.start()])
        at = found.end()
        name, opens = (found["name"] or "").lower(), not found["slash"]
        aside = "" if name else found[0]
        if opens and name in _RAW_END:
            end = _RAW_END[name].search(html, at)
            aside = html[at : end.start() if end else len(html)]
            at += len(aside)
        count = aside.count("<") + bool(name)
        tags, since = tags + count, since + count
        # At the start of a piece nobody doubts what is a comment and what a script.
        unsure = doubtful and len(aside) > LONGEST_ASIDE
        if unsure:
            needed.append(len(out))
        good = not inside and (before is None or (opens and name in before))
        if unsure or since > LONGEST_PIECE_TAGS or (since > PIECE_TAGS and good):
            cuts.append(len(out))
            since, inside, doubtful = count, 0, False
        if name:
            out.append(_bare(found))
        out.append(aside)
        if name in _ARRANGING:
            inside = inside + 1 if opens else max(0, inside - 1)
        doubtful = doubtful or name in _DOUBTFUL or aside.startswith("<![") or (name == "script" and "<!--" in aside)
    out.append(html[at:])
    chosen = needed if tags < WHOLE_TAGS else cuts
    parts = ["".join(out[start:stop]) for start, stop in zip([0, *chosen], [*chosen, len(out)], strict=True)]
    # Blanks before <body> would be lost.
    return [*parts[:1], *("<body>" + part for part in parts[1:])]


def _bare(tag: re.Match[str]) -> str:
    """The tag without attributes, but for those that end an svg element."""
    kept = " color" if tag["name"].lower() == "font" and _LEAVES_SVG.search(tag[0]) else ""
    return f"<{tag['slash']}{tag['name']}{kept}{tag['end']}"
