"""A mapper that replaces what regular expressions find."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import polars as pl
from pydantic import model_validator

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.patterns import checked_pattern, replace_pattern
from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.data.batch import Batch


class ReplaceContentMapper(Mapper):
    r"""Replaces what regular expressions find; ``.`` finds newlines, too.

    Example:
        - replace_content_mapper: {pattern: ['●■', '\d+'], repl: ['', '<number>']}

        >>> ReplaceContentMapper(pattern=r"(\w+)@\w+", repl=r"\1 at home").rewrite_texts(["me@here"])
        ['me at home']

    Source: Data-Juicer 1.6.1, ``replace_content_mapper``. Differs: patterns run in linear time, where ``$`` is
    only the very end of a text and an empty match never follows another match at once; ``engine: backtracking`` is
    Python's own, with look-around.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    pattern: str | list[str] | None = None
    """Regular expressions, applied one after the other; ``null`` replaces nothing."""
    repl: str | list[str] = ""
    r"""What stands there afterwards, one for all patterns or one for each; ``\1`` is the first group."""
    engine: Literal["linear", "backtracking"] = "linear"
    """``backtracking`` is Python's own, which some patterns can keep busy for ever on some texts."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        patterns = self._patterns()
        if isinstance(self.repl, list) and len(self.repl) < len(patterns):
            raise UsageError(
                f"{len(patterns)} patterns but {len(self.repl)} replacements",
                code="data.pattern",
                hint="give repl once, or once for each pattern",
            )
        return self

    def rewrite(self, batch: Batch) -> pl.Series:
        """Pattern by pattern."""
        texts = batch.text(self.text_key)
        patterns = self._patterns()
        repls = self.repl if isinstance(self.repl, list) else [self.repl] * len(patterns)
        for pattern, repl in zip(patterns, repls, strict=False):
            if self.engine == "linear":
                texts = replace_pattern(texts, pattern, repl)
            else:
                found = re.compile(pattern, re.DOTALL)
                texts = pl.Series([found.sub(repl, text) for text in texts.to_list()], dtype=pl.String)
        return texts

    def _patterns(self) -> list[str]:
        given = [self.pattern] if isinstance(self.pattern, str) else self.pattern or []
        if self.engine == "linear":
            return [checked_pattern(pattern) or "" for pattern in given]
        return [_unquoted(pattern) for pattern in given]


def _unquoted(pattern: str) -> str:
    """A pattern without the ``r'…'`` that recipes may write around it.

    Raises:
        UsageError: It is no pattern.
    """
    quoted = len(pattern) > 2 and pattern[:2] in ("r'", 'r"') and pattern[-1] == pattern[1]
    pattern = pattern[2:-1] if quoted else pattern
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"the pattern {pattern!r} is wrong: {error}", code="data.pattern") from error
    return pattern
