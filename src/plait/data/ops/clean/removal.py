"""What mappers that remove something by a pattern have in common: the pattern may be one's own."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

from pydantic import field_validator, model_validator

from plait.data.op import Mapper
from plait.data.ops.clean.patterns import checked_pattern, literal_of, replace_pattern

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch


class PatternMapper(Mapper):
    """Puts a string in place of what a pattern finds. Override `replace`, which does so for the usual pattern."""

    pattern: str | None = None
    """Regular expression of what is replaced, instead of the usual one; it runs in linear time, so it may hold no
    look-around and no back-reference, and ``$`` is only the very end of a text."""
    repl: str = ""
    r"""What stands there afterwards; ``\1`` is the first group of a pattern of your own."""

    _pattern = field_validator("pattern")(checked_pattern)

    @model_validator(mode="after")
    def _no_group_without_pattern(self) -> Self:
        if self.pattern is None:
            literal_of(self.repl)
        return self

    @abstractmethod
    def replace(self, texts: pl.Series, put: str) -> pl.Series:
        """The texts with ``put`` in place of all that the usual pattern finds."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Runs the pattern that was given, or what finds the same as the usual one."""
        texts = batch.text(self.text_key)
        if self.pattern is not None:
            return replace_pattern(texts, self.pattern, self.repl)
        return self.replace(texts, literal_of(self.repl))
