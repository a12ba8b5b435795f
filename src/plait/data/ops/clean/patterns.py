r"""Regular expressions that recipes bring along: Python's spelling, run by Rust's engine in linear time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from plait.data.ops.clean.spelling import rust_pattern
from plait.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "b": "\b", "\\": "\\"}
_TEMPLATE = re.compile(r"\\(?:g<(?P<name>\w+)>|(?P<group>[1-9]\d?)|(?P<escape>.))", re.DOTALL)


def checked_pattern(pattern: str | None) -> str | None:
    r"""A pattern that can be run, without the ``r'…'`` that recipes may write around it.

    Raises:
        UsageError: The engine cannot run it.

    Example:
        >>> checked_pattern("r'[0-9]+'")
        '[0-9]+'
    """
    if pattern is None:
        return None
    if len(pattern) > 2 and pattern[:2] in ("r'", 'r"') and pattern[-1] == pattern[1]:
        pattern = pattern[2:-1]
    try:
        pl.Series([""]).str.contains(rust_pattern(pattern))
    except (pl.exceptions.ComputeError, ValueError) as error:
        raise UsageError(
            f"the pattern {pattern!r} cannot be run in linear time: {_reason(error)}",
            code="data.pattern",
            hint="write it without look-around, back-references and possessive repetition",
        ) from error
    return pattern


def replace_pattern(texts: pl.Series, pattern: str, repl: str, *, dot_all: bool = True) -> pl.Series:
    r"""All matches replaced.

    Args:
        texts: The texts.
        pattern: A pattern that `checked_pattern` gave.
        repl: Python's template: ``\1`` and ``\g<name>`` are groups.
        dot_all: Whether ``.`` matches newlines too.

    Example:
        >>> replace_pattern(pl.Series(["1 of 10"]), "([0-9]+) of", r"<\1> $").to_list()
        ['<1> $ 10']
    """
    flags = "(?s)" if dot_all else ""
    return texts.str.replace_all(flags + rust_pattern(pattern), rust_template(repl))


def _reason(error: Exception) -> str:
    """What the engine has against a pattern, without the drawing of the place."""
    lines = [line.removeprefix("error: ") for line in str(error).splitlines() if line.startswith("error: ")]
    return lines[0] if lines else str(error)


def rust_template(repl: str) -> str:
    r"""Python's template as Rust's engine writes it.

    Example:
        >>> rust_template(r"\1 costs $5")
        '${1} costs $$5'
    """
    return _template(repl, _group, lambda text: text.replace("$", "$$"))


def literal_of(repl: str) -> str:
    r"""What a template without groups stands for.

    Raises:
        UsageError: It names a group.

    Example:
        >>> literal_of(r"a\tb")
        'a\tb'
    """
    return _template(repl, _no_group, lambda text: text)


def _group(name: str) -> str:
    return f"${{{name}}}"


def _no_group(name: str) -> str:
    raise UsageError(
        f"repl names the group {name}, but there is none without a pattern",
        code="data.pattern",
        hint="give a pattern of your own, with groups",
    )


def _template(repl: str, group: Callable[[str], str], plain: Callable[[str], str]) -> str:
    parts = list[str]()
    done = 0
    for match in _TEMPLATE.finditer(repl):
        parts.append(plain(repl[done : match.start()]))
        name = match["name"] or match["group"]
        if name:
            parts.append(group(name))
        elif match["escape"] in _ESCAPES:
            parts.append(plain(_ESCAPES[match["escape"]]))
        else:
            raise UsageError(
                f"repl has the escape \\{match['escape']}, which means nothing",
                code="data.pattern",
                hint=r"write \\ for a backslash",
            )
        done = match.end()
    parts.append(plain(repl[done:]))
    return "".join(parts)
