"""Groupers: rows into one row of lists per group, and back. Each column becomes a list of the values of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.op import Reducer
from plait.data.ops.select.fields import field
from plait.errors import DataError

BATCH_META = "__dj__batch_meta__"
"""Column of what aggregators say about a whole group, as in Data-Juicer."""


class NaiveGrouper(Reducer):
    """Makes one row of all rows.

    Example:
        - naive_grouper

        >>> [grouped] = NaiveGrouper().reduce([Batch.of_texts(["a"]), Batch.of_texts(["b"])])
        >>> grouped["text"].to_list()
        [['a', 'b']]

    Source: Data-Juicer 1.6.1, ``naive_grouper``.
    """

    cost = "bytes"
    needs = frozenset({"fields"})

    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        """One row, or none if there are no rows. All rows are held in memory."""
        rows = _all(batches)
        if rows.height:
            yield rows.select(pl.all().implode())


class KeyValueGrouper(Reducer):
    """Makes one row of all rows that agree in some fields; groups come in the order of their first rows.

    Example:
        - key_value_grouper: {group_by_keys: [source]}

        >>> [grouped] = KeyValueGrouper().reduce([Batch.of_texts(["a", "b"]), Batch.of_texts(["a"])])
        >>> grouped["text"].to_list()
        [['a', 'a'], ['b']]

    Source: Data-Juicer 1.6.1, ``key_value_grouper``; there a field that does not exist counts as null.
    """

    cost = "bytes"
    needs = frozenset({"fields"})

    group_by_keys: tuple[str, ...] | None = None
    """Fields that rows of a group agree in, a dot leads into a struct; the text by default."""

    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        """One row per group. All rows are held in memory."""
        rows = _all(batches)
        if not rows.height:
            return
        names = self.group_by_keys or (self.text_key,)
        keys = [field(Batch(rows), name).alias(f"__key{i}") for i, name in enumerate(names)]
        grouped = rows.with_columns(keys).group_by([key.name for key in keys], maintain_order=True).agg(pl.all())
        yield grouped.drop([key.name for key in keys])


class NaiveReverseGrouper(Reducer):
    """Makes one row of each entry of grouped rows.

    Example:
        - naive_reverse_grouper: {batch_meta_export_path: groups.jsonl}

        >>> grouped = NaiveGrouper().reduce([Batch.of_texts(["a", "b"])])
        >>> [rows] = NaiveReverseGrouper().reduce(map(Batch.of, grouped))
        >>> rows["text"].to_list()
        ['a', 'b']

    Source: Data-Juicer 1.6.1, ``naive_reverse_grouper``.
    """

    cost = "bytes"
    needs = frozenset({"fields"})

    batch_meta_export_path: Path | None = None
    """Where to write what aggregators said about each group, one JSON line per group; left out if not given."""

    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        """The rows of each batch of groups.

        Raises:
            DataError: A column is no list, or the lists of a row differ in length.
        """
        metas = list[str]()
        for batch in batches:
            groups = batch.frame.drop(ROW)
            if BATCH_META in groups.columns:
                metas += [json.dumps(meta, ensure_ascii=False) for meta in groups[BATCH_META]]
                groups = groups.drop(BATCH_META)
            _check_grouped(groups)
            # An empty list would explode into a row of nulls.
            groups = groups.filter(pl.nth(0).list.len() > 0)
            yield groups.explode(groups.columns)
        if self.batch_meta_export_path is not None:
            self.batch_meta_export_path.parent.mkdir(parents=True, exist_ok=True)
            self.batch_meta_export_path.write_text("".join(f"{meta}\n" for meta in metas), encoding="utf-8")


def _all(batches: Iterable[Batch]) -> pl.DataFrame:
    frames = [batch.frame.drop(ROW) for batch in batches]
    return pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()


def _check_grouped(groups: pl.DataFrame) -> None:
    single = [name for name, kind in groups.schema.items() if not isinstance(kind, pl.List)]
    if single:
        raise DataError(
            f'the field "{single[0]}" is no list, so its rows are not grouped',
            code="data.not-grouped",
            hint="put a grouper before it",
        )
    lengths = groups.select(pl.all().list.len())
    uneven = pl.any_horizontal(pl.all() != lengths.to_series(0)) if groups.width else pl.lit(value=False)
    if lengths.select(uneven).to_series().any():
        raise DataError("the lists of a row differ in length", code="data.not-grouped", hint="regroup the rows")
