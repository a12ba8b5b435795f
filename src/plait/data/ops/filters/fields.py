"""Filters that look at fields other than the text."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from plait.data.op import Bounds, Columns, Filter, RangeFilter
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.batch import Batch

Plain = str | int | float | bool | None
SUFFIX = "__dj__suffix__"
"""Field with the suffix of the file a row came from."""


class FieldFilter(Filter):
    """Base of filters that keep a row or not, without a number."""

    cost = "bytes"
    needs = frozenset({"fields"})

    reversed_range: bool = False
    """Keep the other rows instead."""
    min_closed_interval: bool = True
    """Has no effect: there is no range. Accepted because Data-Juicer's filters all have it."""
    max_closed_interval: bool = True
    """Has no effect: there is no range. Accepted because Data-Juicer's filters all have it."""

    def measure(self, batch: Batch) -> Columns:
        """Nothing: the fields are there already."""
        del batch
        return {}


class SuffixFilter(FieldFilter):
    """Keeps rows that come from files with given suffixes.

    Example:
        - suffix_filter: {suffixes: [.md, .txt]}

        >>> from plait.data.batch import Batch
        >>> rows = Batch.of(pl.DataFrame({"text": ["a", "b"], "__dj__suffix__": [".md", ".py"]}))
        >>> SuffixFilter(suffixes=(".md",)).keeps(rows, {}).tolist()
        [True, False]

    Source: Data-Juicer 1.6.1, ``suffix_filter``.
    """

    suffixes: str | tuple[str, ...] = ()
    """Suffixes kept, written as in the field, with their dot; none keeps all."""
    suffix_key: str = SUFFIX
    """Field with the suffix."""

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the suffix is one of those."""
        del stats
        if not self.suffixes:
            return np.ones(len(batch), np.bool_)
        wanted = (self.suffixes,) if isinstance(self.suffixes, str) else self.suffixes
        found = batch.column(self.suffix_key).is_in(list(wanted)).fill_null(value=False).to_numpy()
        return ~found if self.reversed_range else found


class SpecifiedFieldFilter(FieldFilter):
    """Keeps rows whose field has one of given values; of a list, every entry must be one.

    Example:
        - specified_field_filter: {field_key: meta.source, target_value: [books, wiki]}

        >>> from plait.data.batch import Batch
        >>> rows = Batch.of(pl.DataFrame({"kind": ["a", "b"]}))
        >>> SpecifiedFieldFilter(field_key="kind", target_value=("a",)).keeps(rows, {}).tolist()
        [True, False]

    Source: Data-Juicer 1.6.1, ``specified_field_filter``.
    """

    field_key: str = ""
    """The field; dots lead into structs."""
    target_value: tuple[Plain, ...] = ()
    """Values kept; none keeps all."""

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the field has one of the values."""
        del stats
        if not (self.field_key and self.target_value):
            return np.ones(len(batch), np.bool_)
        column = batch.column(self.field_key)
        wanted = set(self.target_value)
        if isinstance(column.dtype, (pl.List, pl.Array)):
            rows = column.to_list()
            found = np.array([row is not None and all(v in wanted for v in row) for row in rows], np.bool_)
            if None in wanted:
                found |= column.is_null().to_numpy()
        else:
            # Python's equality decides (1 == 1.0 == True, but not "1"), once per distinct value.
            distinct = column.unique()
            kept = [v in wanted for v in distinct.to_list()]
            found = column.is_in(distinct.filter(pl.Series(kept, dtype=pl.Boolean)).implode(), nulls_equal=True)
            found = found.to_numpy()
        return ~found if self.reversed_range else found


class SpecifiedNumericFieldFilter(RangeFilter):
    """Keeps rows whose field is a number in a range; what is no number is dropped.

    Example:
        - specified_numeric_field_filter: {field_key: meta.stars, min_value: 10}

        >>> from plait.data.batch import Batch
        >>> rows = Batch.of(pl.DataFrame({"stars": ["12", "x", "3.5"]}))
        >>> op = SpecifiedNumericFieldFilter(field_key="stars", min_value=10)
        >>> op.keeps(rows, op.measure(rows)).tolist()
        [True, False, False]

    Source: Data-Juicer 1.6.1, ``specified_numeric_field_filter``. A 0 is a number here; there it counts as none and
    the row is dropped (``compat: data-juicer``).
    """

    cost = "bytes"
    needs = frozenset({"fields"})

    field_key: str = ""
    """The field; dots lead into structs. Empty keeps all."""
    min_value: float = -sys.maxsize
    """Smallest value kept."""
    max_value: float = sys.maxsize
    """Largest value kept."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: a 0 counts as no number."""

    @property
    def stats(self) -> tuple[str, ...]:
        """The number is named for its field."""
        return (self.field_key,) if self.field_key else ()

    def measure(self, batch: Batch) -> Columns:
        """The number in the field, NaN where there is none."""
        return {self.field_key: self.value(batch)} if self.field_key else {}

    def value(self, batch: Batch) -> np.ndarray:
        """The number in the field, NaN where there is none, float64 ``[rows]``."""
        if not self.field_key:
            return np.full(len(batch), np.nan)
        column = batch.column(self.field_key)
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if column.dtype != pl.String:
            raise DataError(
                f'the field "{self.field_key}" holds {column.dtype}, not numbers or texts of numbers',
                code="data.not-numeric",
            )
        return np.fromiter(map(_number, column.to_list()), np.float64, len(column))

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the field is a number in the range."""
        if not self.field_key:
            return np.ones(len(batch), np.bool_)
        value = np.asarray(stats[self.field_key])
        number = ~np.isnan(value)
        if self.compat == "data-juicer" and batch.column(self.field_key).dtype != pl.String:
            number &= value != 0
        return self.inside(value) & number

    def bounds(self) -> Bounds:
        """Smallest and largest value."""
        return self.min_value, self.max_value


def _number(text: str | None) -> float:
    """What Python's ``float`` reads, which knows blanks, underscores and digits of all scripts."""
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return float("nan")
