"""Figures of a LaTeX source, and the paragraphs that cite them; every step is linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Options in brackets are looked for this far, so that many that never close cost no more than their number.
_OPTIONS = r"\[[^\]]{0,10000}\]"
_LABEL = re.compile(r"\\label\{([^}]+)\}")
_IMAGE = re.compile(rf"\\includegraphics(?:{_OPTIONS})?\{{([^}}]+)\}}")
_CAPTIONS = (
    re.compile(rf"\\caption\*?(?:{_OPTIONS})?\{{"),
    re.compile(rf"\\subcaption(?:{_OPTIONS})?\{{"),
    re.compile(rf"\\captionof\{{figure\}}(?:{_OPTIONS})?\{{"),
)
_TABLE_CAPTION = re.compile(rf"\\captionof\{{table\}}(?:{_OPTIONS})?\{{")
_PART_WITH_CAPTION = re.compile(r"\\(?:subfigure|subfloat)\[([^\]]{0,10000})\]\s*\{")
_PART = re.compile(r"\\(?:subfigure|subfloat)\s*\{")
_ARGUMENTS = re.compile(r"(?:\[[^\]]{0,1000}\])*(?:\{[^}]{0,1000}\})*")
_FIGURE = re.compile(r"\\begin\{(figure\*?|wrapfigure)\}")
_SUBFIGURE = re.compile(r"\\begin\{(subfigure)\}")
_MINIPAGE = re.compile(r"\\begin\{(minipage)\}")
_NO_PROSE = re.compile(
    r"\\begin\{((?:figure|table|tabular|equation|align|alignat|gather|multline|flalign|algorithm)\*?"
    r"|wrapfigure|lstlisting|verbatim|minted)\}"
)
_BRACES = re.compile(r"[{}]")


@dataclass(frozen=True)
class Figure:
    """A figure with images, or with parts that have some."""

    caption: str
    label: str
    images: list[str]
    parts: list[Figure] = field(default_factory=list)


def figures_of(source: str) -> list[Figure]:
    r"""Figures of a source, in its order.

    Example:
        >>> figures_of(r"\begin{figure}\includegraphics[x]{a.png}\caption{One {b}}\label{f}\end{figure}")
        [Figure(caption='One {b}', label='f', images=['a.png'], parts=[])]
    """
    return [figure for start, _, end in environments(source, _FIGURE) for figure in _figures_in(source[start:end])]


def paragraphs_of(source: str, separator: str) -> list[str]:
    """Paragraphs of prose: what is left without figures, tables, formulas and listings."""
    kept = list[str]()
    done = 0
    for start, _, end in environments(source, _NO_PROSE, arguments=False):
        kept.append(source[done:start])
        done = end
    kept.append(source[done:])
    return [paragraph for part in "".join(kept).split(separator) if (paragraph := part.strip())]


class Citations:
    """Which paragraphs cite which labels.

    Args:
        paragraphs: The paragraphs.
        commands: Commands that cite, with or without a backslash.
    """

    def __init__(self, paragraphs: Sequence[str], commands: Sequence[str]) -> None:
        names = "|".join(re.escape(command.lstrip("\\")) for command in commands)
        cites = re.compile(rf"\\(?:{names})\{{([^}}]*)\}}")
        self._paragraphs = paragraphs
        self._lists = [cites.findall(paragraph[: paragraph.rfind("}") + 1]) for paragraph in paragraphs]
        self._where = dict[str, dict[int, None]]()
        for number, lists in enumerate(self._lists):
            for label in (label for labels in lists for label in _labels(labels)):
                self._where.setdefault(label, {})[number] = None

    def of(self, label: str) -> list[str]:
        """Paragraphs that cite a label."""
        if not label:
            return []
        if "," in label:
            # A label with a comma looks like two in a list.
            whole = re.compile(rf"(?:^|,\s*){re.escape(label)}\s*(?:,|$)")
            return [p for p, lists in zip(self._paragraphs, self._lists, strict=True) if any(map(whole.search, lists))]
        return [self._paragraphs[number] for number in self._where.get(label, ())]


def environments(text: str, begin: re.Pattern[str], *, arguments: bool = True) -> Iterator[tuple[int, int, int]]:
    """Environments, none inside another: where each starts, where its content starts, and where it ends.

    Args:
        text: The text.
        begin: How they begin; its first group is the name.
        arguments: Whether arguments stand before the content.
    """
    at = 0
    unclosed = set[str]()
    while match := begin.search(text, at):
        name = match[1]
        closing = f"\\end{{{name}}}"
        inside = match.end()
        if arguments and (given := _ARGUMENTS.match(text, inside)):
            inside = given.end()
        # What closes nowhere from here on does so nowhere later, so it is not looked for again.
        close = -1 if name in unclosed else text.find(closing, inside)
        if close < 0:
            unclosed.add(name)
            at = match.start() + 1
            continue
        at = close + len(closing)
        yield match.start(), inside, at


def _labels(listed: str) -> list[str]:
    """Labels of a list; a blank before the first one is part of it."""
    first, *others = listed.split(",")
    return [first.rstrip(), *(label.strip() for label in others)]


def _figures_in(text: str) -> list[Figure]:
    parts = _parts(text)
    if parts:
        subfigures = [
            Figure(caption, _label(body), images) for _, _, caption, body in parts if (images := _images(body))
        ]
        outside = text
        for start, end, _, _ in sorted(parts, reverse=True):
            outside = outside[:start] + outside[end:]
        return [Figure(_caption(outside), _label(outside), [], subfigures)] if subfigures else []
    boxes = list(environments(text, _MINIPAGE))
    bodies = [text[inside : end - len(r"\end{minipage}")] for _, inside, end in boxes] if len(boxes) > 1 else [text]
    return [
        Figure(_caption(body), _label(body), images)
        for body in bodies
        if not (len(boxes) > 1 and _argument(body, _TABLE_CAPTION) is not None) and (images := _images(body))
    ]


def _parts(text: str) -> list[tuple[int, int, str, str]]:
    """Start, end, caption and content of each part of a figure, kind by kind."""
    found = list[tuple[int, int, str, str]]()
    for start, _, end in environments(text, _SUBFIGURE):
        body = text[start:end]
        found.append((start, end, _caption(body), body))
    closes = _pairs(text)
    for pattern in (_PART_WITH_CAPTION, _PART):
        for match, end in _commands(text, pattern, closes):
            caption = match[1].strip() if pattern is _PART_WITH_CAPTION else ""
            found.append((match.start(), end + 1, caption, text[match.end() : end]))
    return found


def _commands(text: str, pattern: re.Pattern[str], closes: dict[int, int]) -> Iterator[tuple[re.Match[str], int]]:
    """Commands whose argument has its closing brace, with that brace's place."""
    at = 0
    while match := pattern.search(text, at):
        end = closes.get(match.end() - 1)
        if end is None:
            at = match.start() + 1
            continue
        yield match, end
        at = end + 1


def _pairs(text: str) -> dict[int, int]:
    """Closing brace of each opening one that has one."""
    closes = dict[int, int]()
    opened = list[int]()
    for brace in _BRACES.finditer(text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened:
            closes[opened.pop()] = brace.start()
    return closes


def _argument(text: str, pattern: re.Pattern[str]) -> str | None:
    for match, end in _commands(text, pattern, _pairs(text) if pattern.search(text) else {}):
        return text[match.end() : end].strip()
    return None


def _caption(text: str) -> str:
    for pattern in _CAPTIONS:
        caption = _argument(text, pattern)
        if caption is not None:
            return caption
    return ""


def _label(text: str) -> str:
    # Behind the last brace nothing can match, so no search runs to the end in vain.
    match = _LABEL.search(text[: text.rfind("}") + 1])
    return match[1].strip() if match else ""


def _images(text: str) -> list[str]:
    return [match[1].strip() for match in _IMAGE.finditer(text[: text.rfind("}") + 1])]
