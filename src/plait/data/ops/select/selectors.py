"""Selectors: keep the highest, the most frequent, a random sample, a range of ranks, or given tags.

Rows stay in the order of the input. As in Data-Juicer, a selector leaves a single row alone, and all rows where its
settings ask for nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveInt

from plait.data.op import Columns, Decision, Rows, Selector
from plait.data.ops.select.fields import MISSING, digests, field, how_many, numbers, ordered

if TYPE_CHECKING:
    from plait.data.batch import Batch


class FieldSelector(Selector):
    """Base of selectors that look at one field."""

    cost = "bytes"
    needs = frozenset({"fields"})

    field_key: str = ""
    """The field looked at; a dot leads into a struct. Nothing is dropped without one."""

    def keys(self, batch: Batch) -> Columns:
        """What stands for the field."""
        return self.key_of(field(batch, self.field_key)) if self.field_key else {}

    def decide(self, rows: Rows) -> Decision:
        """Which rows are dropped."""
        if rows.count <= 1 or not self.field_key:
            return keep_all(rows)
        return self.choose(rows)

    @abstractmethod
    def key_of(self, values: pl.Series) -> Columns:
        """The key of each value."""

    @abstractmethod
    def choose(self, rows: Rows) -> Decision:
        """Which of two rows or more are dropped."""


class TopkSpecifiedFieldSelector(FieldSelector):
    """Keeps the rows with the highest (or lowest) values of a field.

    Example:
        - topk_specified_field_selector: {field_key: score, top_ratio: 0.5}

        >>> TopkSpecifiedFieldSelector(field_key="text", topk=2).find_in(["a", "c", "b"]).position
        array([0])

    Source: Data-Juicer 1.6.1, ``topk_specified_field_selector``; there the rows kept are put in order of the field,
    and null in a field that is not inside a struct is an error: here it is never among the first.
    """

    stat = "rank"

    top_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of rows kept; with ``topk``, the smaller number of rows counts."""
    topk: PositiveInt | None = None
    """Number of rows kept."""
    reverse: bool = True
    """Keep the highest values; otherwise the lowest."""

    def key_of(self, values: pl.Series) -> Columns:
        """The values as numbers; texts of a field that is not inside a struct as they are, as in Data-Juicer."""
        if values.dtype == pl.String and "." not in self.field_key:
            return {"value": values}
        return {"value": numbers(values, missing=-MISSING if self.reverse else MISSING)}

    def choose(self, rows: Rows) -> Decision:
        """Rows whose rank is too low."""
        kept = how_many(rows.count, self.top_ratio, self.topk)
        if kept is None:
            return keep_all(rows)
        order = ordered(rows.key("value"), descending=self.reverse)
        return _drop_all_but(order[:kept], rows.count, value=_ranks(order))


class RangeSpecifiedFieldSelector(FieldSelector):
    """Keeps the rows whose rank by a field, lowest value first, lies in a range.

    Example:
        - range_specified_field_selector: {field_key: score, lower_percentile: 0.1, upper_percentile: 0.9}

        >>> RangeSpecifiedFieldSelector(field_key="text", lower_rank=1, upper_rank=2).find_in(["3", "1", "2"]).position
        array([0, 1])

    Source: Data-Juicer 1.6.1, ``range_specified_field_selector``; there the rows kept are put in order of the field.
    """

    stat = "rank"

    lower_percentile: float | None = Field(default=None, ge=0, le=1)
    """Share of rows below the range; with ``lower_rank``, the larger number of rows counts."""
    upper_percentile: float | None = Field(default=None, ge=0, le=1)
    """Share of rows up to the end of the range; with ``upper_rank``, the smaller number of rows counts."""
    lower_rank: PositiveInt | None = None
    """Number of rows below the range."""
    upper_rank: PositiveInt | None = None
    """Number of rows up to the end of the range."""

    def key_of(self, values: pl.Series) -> Columns:
        """The values as numbers; what is none comes first."""
        return {"value": numbers(values, missing=-MISSING)}

    def choose(self, rows: Rows) -> Decision:
        """Rows whose rank is outside the range; nothing unless both ends are given."""
        lows = [int(self.lower_percentile * rows.count)] if self.lower_percentile is not None else []
        lows += [self.lower_rank] if self.lower_rank is not None else []
        highs = [int(self.upper_percentile * rows.count)] if self.upper_percentile is not None else []
        highs += [self.upper_rank] if self.upper_rank is not None else []
        if not lows or not highs:
            return keep_all(rows)
        low = max(lows)
        high = max(low, min(*highs, rows.count))
        values = rows.key("value")
        order = ordered(values, descending=False)
        below = order[:high]
        # Of equal values at the lower end the first rows stay, as in Data-Juicer.
        kept = below[ordered(values[below], descending=True)[: high - low]]
        return _drop_all_but(kept, rows.count, value=_ranks(order))


class FrequencySpecifiedFieldSelector(FieldSelector):
    """Keeps the rows whose value of a field is among the most (or least) frequent values.

    Example:
        - frequency_specified_field_selector: {field_key: source, topk: 3}

        >>> FrequencySpecifiedFieldSelector(field_key="text", topk=1).find_in(["a", "b", "b"]).position
        array([0])

    Source: Data-Juicer 1.6.1, ``frequency_specified_field_selector``; there the rows kept are put in order of
    frequency.
    """

    stat = "frequency"

    top_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of distinct values kept; with ``topk``, the smaller number of values counts."""
    topk: PositiveInt | None = None
    """Number of distinct values kept."""
    reverse: bool = True
    """Keep the most frequent values; otherwise the least frequent."""

    def key_of(self, values: pl.Series) -> Columns:
        """128 bits of each value."""
        return {"value": digests(values)}

    def choose(self, rows: Rows) -> Decision:
        """Rows whose value is too rare; of values as frequent as each other, those that occur first stay."""
        keys = rows.key("value")
        _, first, inverse, count = np.unique(
            np.ascontiguousarray(keys).view("u8,u8").reshape(-1),
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        kept = how_many(len(first), self.top_ratio, self.topk)
        if kept is None:
            return keep_all(rows)
        by_first = np.argsort(first)
        order = by_first[ordered(count[by_first], descending=self.reverse)]
        stays = np.zeros(len(first), np.bool_)
        stays[order[:kept]] = True
        inverse = inverse.reshape(-1)
        return _drop_all_but(np.flatnonzero(stays[inverse]), rows.count, value=count[inverse].astype(np.float64))


class TagsSpecifiedFieldSelector(FieldSelector):
    """Keeps the rows whose value of a field is one of some tags.

    Example:
        - tags_specified_field_selector: {field_key: source, target_tags: [wiki, books]}

        >>> op = TagsSpecifiedFieldSelector(field_key="text", target_tags=["a"])
        >>> op.find_in(["a", "b", "a"]).position
        array([1])

    Source: Data-Juicer 1.6.1, ``tags_specified_field_selector``.
    """

    target_tags: tuple[str | int | float | None, ...]
    """The tags, compared as they are: upper case differs from lower case, and ``"1"`` from ``1``."""

    def key_of(self, values: pl.Series) -> Columns:
        """Whether each value is a tag."""
        keys, found = digests(values), np.zeros(len(values), np.bool_)
        for tag in self.target_tags:
            found |= (keys == digests(pl.Series([tag]))).all(axis=1)
        return {"tagged": found}

    def choose(self, rows: Rows) -> Decision:
        """Rows without a tag."""
        return _drop_all_but(np.flatnonzero(rows.key("tagged")), rows.count)


class RandomSelector(Selector):
    """Keeps a random sample; the same rows however they are cut into chunks.

    Example:
        - random_selector: {select_ratio: 0.1}

        >>> len(RandomSelector(select_num=2).find_in(["a", "b", "c", "d", "e"]).position)
        3

    Source: Data-Juicer 1.6.1, ``random_selector``, whose sample this is at ``seed: 42``. There the rows kept are
    shuffled, a share that comes to less than one row keeps all rows, and more rows than there are repeat some.
    """

    stat = "rank"
    cost = "bytes"
    needs = frozenset({"fields"})

    select_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of rows kept; with ``select_num``, the smaller number of rows counts."""
    select_num: PositiveInt | None = None
    """Number of rows kept."""
    seed: int = Field(default=42, ge=0)
    """Another seed gives another sample."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: a share that comes to less than one row keeps all rows."""

    def keys(self, batch: Batch) -> Columns:
        """Nothing: the sample depends on the number of rows alone."""
        del batch
        return {}

    def decide(self, rows: Rows) -> Decision:
        """Rows that are not drawn."""
        kept = how_many(rows.count, self.select_ratio, self.select_num)
        if kept is None and self.select_ratio is not None:
            kept = 0
        if rows.count <= 1 or kept is None or (self.compat == "data-juicer" and not kept):
            return keep_all(rows)
        order = np.random.default_rng(self.seed).permutation(rows.count)
        return _drop_all_but(order[:kept], rows.count, value=_ranks(order))


def keep_all(rows: Rows) -> Decision:
    """A decision that drops nothing."""
    return _drop_all_but(np.arange(rows.count), rows.count)


def _ranks(order: np.ndarray) -> np.ndarray:
    """From positions in order to the rank of each position, counted from 1."""
    ranks = np.empty(len(order), np.float64)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def _drop_all_but(kept: np.ndarray, count: int, *, value: np.ndarray | None = None) -> Decision:
    dropped = np.ones(count, np.bool_)
    dropped[kept] = False
    position = np.flatnonzero(dropped)
    facts: dict[str, Any] = {"rows": count, "kept": count - len(position)}
    return Decision(
        position=position,
        survivor=np.full(len(position), -1, np.int64),
        value=np.full(len(position), np.nan) if value is None else value[position],
        facts=facts,
    )
