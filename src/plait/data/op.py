r"""What a data operation is: a mapper rewrites, a filter measures, a barrier compares all rows with each other.

An operation says what it needs and what it gives, and works on whole columns of a `plait.data.batch.Batch`;
`plait.data.plan` puts operations together so that each chunk is visited once between two barriers.

    class ShoutingFilter(RangeFilter):
        '''Keeps texts without too many capitals.'''

        stat = "capital_ratio"
        max_ratio: float = 0.3
        '''Largest share of capital letters kept.'''

        def value(self, batch: Batch) -> np.ndarray:
            capitals = batch.text(self.text_key).str.count_matches(r"\p{Lu}").to_numpy()
            return capitals / np.maximum(batch.scan(self.text_key).chars, 1)

        def bounds(self) -> Bounds:
            return None, self.max_ratio

Names, settings and formulas are Data-Juicer's, so that its recipes run unchanged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from plait.core.component import Component

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from plait.data.batch import Batch

Cost = Literal["bytes", "scan", "words", "small-model", "python", "model", "llm"]
"""What an operation spends per row: a look at the bytes, a pass over characters, a pass over words, a tokenizer or a
linear model, Python for rows one by one, a neural network, or calls to a language model. The planner runs what is cheap
first where order is free."""

Need = Literal["bytes", "chars", "lines", "words", "tokens", "model", "fields"]
"""What an operation looks at. What several need is computed once per text."""

Bounds = tuple[float | None, float | None]
"""Lowest and highest value kept; ``None`` for no bound."""

Columns = Mapping[str, Any]
"""Column by name: a numpy array or a Polars series, one entry per row of the batch."""


class Op(Component):
    """Base of every operation. Operations are shared by threads, so their methods keep no state."""

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset()
    deterministic: ClassVar[bool] = True
    """False if equal input may give unequal output (an endpoint's answers)."""

    text_key: str = "text"
    """Field of the text it works on; a dot leads into a struct."""

    def ready(self) -> None:
        """Raise if something it needs is not on this machine: a model, a list of words, a package.

        Called once before any work, however late the operation comes; looks for files and opens no model.
        """


class Mapper(Op):
    """Rewrites each row by itself. Override `rewrite`, or `apply` to write other columns or to change the rows."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """The new texts, one per row."""
        raise NotImplementedError(f"{type(self).__name__} overrides apply")

    def apply(self, batch: Batch) -> Batch:
        """The batch with its rows rewritten.

        Rows may be left out or multiplied: each carries the number of the row it came from in the column
        ``plait.data.names.ROW``.
        """
        return batch.with_text(self.text_key, self.rewrite(batch))

    def failures(self, after: Batch) -> int:
        """How many rows of what `apply` gave have no result because something went wrong; a run tells of them.

        For mappers that go on then, and note in a field what it was.
        """
        del after
        return 0

    def rewrite_texts(self, texts: Sequence[str]) -> list[str]:
        """Some texts rewritten, to try a mapper out."""
        from plait.data.batch import Batch

        return self.apply(Batch.of_texts(texts, self.text_key)).text(self.text_key).to_list()


class Filter(Op):
    """Measures each row and keeps those whose numbers please."""

    stats: ClassVar[tuple[str, ...]] = ()
    """Names of what is measured, as in Data-Juicer's stats; empty for filters that look at fields only."""

    @abstractmethod
    def measure(self, batch: Batch) -> Columns:
        """A column for each of `stats`."""

    @abstractmethod
    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether each row stays, bool ``[rows]``; must depend on nothing but that row."""


class RangeFilter(Filter):
    """Keeps rows whose number lies in a range."""

    stat: ClassVar[str]
    """Name of the number."""

    min_closed_interval: bool = True
    """Keep values equal to the lower bound."""
    max_closed_interval: bool = True
    """Keep values equal to the upper bound."""
    reversed_range: bool = False
    """Keep what lies outside the range instead."""

    @abstractmethod
    def value(self, batch: Batch) -> np.ndarray:
        """The number of each row, ``[rows]``."""

    @abstractmethod
    def bounds(self) -> Bounds:
        """The range that is kept."""

    def bracket(self, batch: Batch) -> tuple[np.ndarray, np.ndarray] | None:
        """Sound bounds ``low <= value <= high`` that cost much less than `value`, or ``None`` for filters without.

        Where they settle whether a row stays, its exact value is computed only if somebody asks for it.
        """
        del batch
        return None

    def measure(self, batch: Batch) -> Columns:
        """The one number."""
        return {self.stat: self.value(batch)}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the number lies in the range."""
        del batch
        return self.inside(stats[self.stat])

    def inside(self, value: Any) -> np.ndarray:
        """Whether numbers are such as are kept, bool ``[rows]``.

        A closed bound is kept also when the range is reversed: its ends open with it.

        Source: Data-Juicer 1.6.1, ``Filter.get_keep_boolean``.
        """
        import numpy as np

        value = np.asarray(value)
        low, high = self.bounds()
        with_low = self.min_closed_interval != self.reversed_range
        with_high = self.max_closed_interval != self.reversed_range
        within = np.ones(len(value), np.bool_)
        if low is not None:
            within &= value >= low if with_low else value > low
        if high is not None:
            within &= value <= high if with_high else value < high
        return ~within if self.reversed_range else within

    def measure_texts(self, texts: Sequence[str]) -> list[float]:
        """The numbers of some texts, to try a filter out; a plan measures many filters at once."""
        from plait.data.batch import Batch

        return [float(v) for v in self.value(Batch.of_texts(texts, self.text_key))]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """A range filter measures its one stat."""
        super().__pydantic_init_subclass__(**kwargs)
        if "stat" in cls.__dict__:
            cls.stats = (cls.stat,)


class Barrier(Op):
    """Must see every row before it can decide on any: deduplicators and selectors.

    Works in two steps. `keys` runs with the pass over each chunk, in the workers, and says all that `decide`
    needs to know of a row; `decide` runs once, over all rows kept so far.
    """

    stat: ClassVar[str] = ""
    """Name of what a decision is based on: the similarity to the row that stays, or the rank."""

    @abstractmethod
    def keys(self, batch: Batch) -> Columns:
        """Columns to decide by, numpy arrays ``[rows]`` or ``[rows, n]``, or Polars series."""

    @abstractmethod
    def decide(self, rows: Rows) -> Decision:
        """Which rows are dropped."""

    def find_in(self, texts: Sequence[str]) -> Decision:
        """The decision on some texts, to try a barrier out."""
        from plait.data.batch import Batch, RowsInMemory

        return self.decide(RowsInMemory(self, Batch.of_texts(texts, self.text_key)))


class Deduplicator(Barrier):
    """Keeps one of each set of duplicates: the first row, unless its settings say otherwise."""


class RewritingBarrier(Barrier):
    """Rewrites the rows that stay, by what it found in all of them."""

    @abstractmethod
    def rewrite(self, batch: Batch, state: Path) -> pl.Series:
        """The new texts, one per row.

        Args:
            batch: Rows that stayed.
            state: The file `Decision.state` names.
        """


class Selector(Barrier):
    """Keeps some rows by how they compare with the others."""


class Reducer(Op):
    """Turns many rows into fewer, with columns of their own: groupers and aggregators."""

    @abstractmethod
    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        """New rows, from all batches in order."""


@dataclass(frozen=True)
class Decision:
    """What a barrier decided.

    Args:
        position: Positions of the rows dropped, int64 ``[dropped]``, ascending.
        survivor: Position of the row kept instead of each, -1 where there is none.
        value: Similarity to that row, or the rank that was too low, float64 ``[dropped]``.
        facts: What a report may tell of it: counts, bytes, thresholds.
        state: A file in the scratch folder that the operation's ``rewrite(batch, state)`` needs, if rows that stay
            are rewritten after the decision.
    """

    position: np.ndarray
    survivor: np.ndarray
    value: np.ndarray
    facts: Mapping[str, Any]
    state: Path | None = None


class Rows(Protocol):
    """All rows that reached a barrier, numbered from 0 in the order of the input."""

    @property
    def count(self) -> int:
        """How many."""
        ...

    @property
    def scratch(self) -> Path:
        """A folder for what does not fit into memory."""
        ...

    @property
    def memory_bytes(self) -> int:
        """How much `Barrier.decide` may hold at a time, beyond a few bytes per row."""
        ...

    def key(self, name: str, columns: slice | None = None) -> np.ndarray:
        """A column that `Barrier.keys` gave, over all rows: ``[count]`` or ``[count, n]``; some columns only."""
        ...

    def parts(self, name: str, columns: slice | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The same column chunk by chunk, each with the position of its first row."""
        ...

    def fetch(self, name: str, positions: np.ndarray) -> pl.Series:
        """A field of the data (``text``, ``id``) of some rows, in the order asked."""
        ...
