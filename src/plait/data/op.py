r"""What a data operation is: a mapper rewrites texts, a filter measures them, a deduplicator compares them.

An operation declares what it needs and what it gives; it never loops over rows. `plait.data.plan` puts what
operations declare together into one lazy Polars query per chunk.

    class ShoutingFilter(Filter):
        '''Keeps texts without too many capitals.'''

        stat = "capital_ratio"
        needs = frozenset({"chars"})
        max_ratio: float = 0.3
        '''Largest share of capital letters kept.'''

        def measure(self, shared: Shared) -> pl.Expr:
            return shared.text.str.count_matches(r"\p{Lu}") / shared.chars

        def bounds(self) -> Bounds:
            return (None, self.max_ratio)

Names, settings and formulas are Data-Juicer's, so that its recipes run unchanged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from plait.core.component import Component

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

Need = Literal["chars", "lines", "words"]
"""An intermediate that several filters share, computed once per text."""

Bounds = tuple[float | None, float | None]
"""Lowest and highest value kept; ``None`` for no bound."""


@dataclass(frozen=True)
class Shared:
    """The text of a batch and what is computed from it once, as Polars expressions.

    Args:
        text: The text, a string.
        chars: Its length in characters, UInt32.
        lines: The text with every kind of line end as one newline and none at its end, a string.
        words: Its words, lower case and without special characters around them, a list of strings.
    """

    text: pl.Expr
    chars: pl.Expr
    lines: pl.Expr
    words: pl.Expr


CHARS, LINES, WORDS = "__chars", "__lines", "__words"
"""Columns that hold what filters share while a segment is measured."""

_LINE_ENDS = r"\r\n|[\r\x0b\x0c\x1c-\x1e\x{85}\x{2028}\x{2029}]"


def shared_expressions() -> Shared:
    """What `shared_columns` computed, as expressions for filters."""
    import polars as pl

    return Shared(pl.col("text"), pl.col(CHARS), pl.col(LINES), pl.col(WORDS))


def shared_columns(needs: Iterable[Need]) -> list[pl.Expr]:
    """Expressions that compute what filters share, once."""
    import polars as pl

    from plait.data.ops.special import word_pattern

    text = pl.col("text")
    columns = {
        "chars": text.str.len_chars().alias(CHARS),
        "lines": text.str.replace_all(_LINE_ENDS, "\n").str.strip_suffix("\n").alias(LINES),
        "words": text.str.to_lowercase().str.extract_all(word_pattern()).alias(WORDS),
    }
    return [columns[need] for need in needs]


class Mapper(Component):
    """Rewrites each text by itself."""

    gives: ClassVar[Literal["map"]] = "map"
    python_rows: ClassVar[bool] = False
    """True if some rows go through Python one by one, which is slow."""

    @abstractmethod
    def rewrite(self, text: pl.Expr) -> pl.Expr:
        """The new text, a string expression."""

    def rewrite_texts(self, texts: Sequence[str]) -> list[str]:
        """Some texts rewritten, to try a mapper out."""
        import polars as pl

        frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String}).lazy()
        return frame.select(self.rewrite(pl.col("text"))).collect().to_series().to_list()


class Filter(Component):
    """Measures each text and keeps those whose number lies in a range."""

    gives: ClassVar[Literal["keep"]] = "keep"
    stat: ClassVar[str]
    """Name of the number, as in Data-Juicer's stats."""
    needs: ClassVar[frozenset[Need]] = frozenset()

    min_closed_interval: bool = True
    """Keep values equal to the lower bound."""
    max_closed_interval: bool = True
    """Keep values equal to the upper bound."""
    reversed_range: bool = False
    """Keep what lies outside the range instead."""

    @abstractmethod
    def measure(self, shared: Shared) -> pl.Expr:
        """The number, one per text; never null."""

    @abstractmethod
    def bounds(self) -> Bounds:
        """The range that is kept."""

    def keeps(self, value: pl.Expr) -> pl.Expr:
        """Whether a text with that number stays, as a Boolean expression."""
        import polars as pl

        low, high = self.bounds()
        inside = pl.lit(value=True)
        if low is not None:
            inside = inside & (value >= low if self.min_closed_interval else value > low)
        if high is not None:
            inside = inside & (value <= high if self.max_closed_interval else value < high)
        return ~inside if self.reversed_range else inside

    def measure_texts(self, texts: Sequence[str]) -> list[float]:
        """The numbers of some texts, to try a filter out; a plan measures many filters at once."""
        import polars as pl

        frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String}).lazy()
        shared = frame.with_columns(shared_columns(sorted(self.needs)))
        return shared.select(self.measure(shared_expressions()).cast(pl.Float64)).collect().to_series().to_list()


class Deduplicator(Component):
    """Compares all texts with each other and keeps one of each set of duplicates: that of the lowest id."""

    gives: ClassVar[Literal["key"]] = "key"
    stat: ClassVar[str]
    """Name of the similarity to the text that stays."""

    @abstractmethod
    def keys(self, texts: pl.Series) -> np.ndarray:
        """Keys of each text, uint64 ``[texts, keys]``: duplicates share at least one column's value.

        A row of zeros means that the text has no duplicates by this measure. Runs in the workers.
        """

    @abstractmethod
    def find(self, keys: np.ndarray, texts: Texts) -> Duplicates:
        """The duplicates among texts in order of their ids. Runs once, over all chunks.

        Args:
            keys: What `keys` gave, uint64 ``[texts, keys]``.
            texts: Fetches texts again by position, to verify candidates.
        """

    def find_in(self, texts: Sequence[str]) -> Duplicates:
        """The duplicates among some texts; the first of each set stays."""
        import polars as pl

        return self.find(self.keys(pl.Series("text", list(texts), dtype=pl.String)), _Listed(list(texts)))


class Texts(Protocol):
    """Fetches texts by position; `plait.data.execute` does so from its chunk files."""

    def fetch(self, positions: Sequence[int]) -> list[str]:
        """The texts at these positions, in the order asked."""
        ...


class _Listed(Texts):
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def fetch(self, positions: Sequence[int]) -> list[str]:
        return [self._texts[position] for position in positions]


@dataclass(frozen=True)
class Duplicates:
    """Which texts are dropped, and for which.

    Args:
        position: Positions dropped, int64, ascending.
        survivor: Position of the text kept instead, for each.
        similarity: Similarity of the two, 0 to 1.
    """

    position: np.ndarray
    survivor: np.ndarray
    similarity: np.ndarray


Op = Mapper | Filter | Deduplicator
