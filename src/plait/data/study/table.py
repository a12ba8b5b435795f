"""The stats table: what a study measured of every row, opened from Parquet, read column by column when needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plait.data.op import Barrier, Filter
from plait.data.study.criteria import Criterion, criteria
from plait.errors import DataError, nearest

if TYPE_CHECKING:
    from plait.data.op import Op

FIXED = (
    "id", "kept", "dropped_by", "stat", "value", "duplicate_of", "changed_by", "source", "chars",
)  # fmt: skip
"""Columns that are no stats."""

OTHER = "(other sources)"
"""The name of sources that are put together."""

MOST_SOURCES = 64
"""Sources told apart, the largest of a table and the first to come of a stream; the rest are put together."""


@dataclass(frozen=True)
class Sources:
    """Which source each row is of.

    Args:
        names: Names, in order; the last may be `OTHER`.
        codes: Place of each row's source in ``names``, int32 ``[rows]``.
    """

    names: tuple[str, ...]
    codes: np.ndarray


class StatsTable:
    """One row per row of the input, in its order; a column per stat.

    Args:
        frame: The columns of a lineage file, at hand or still to be read; ``id``, ``source`` and ``chars`` may
            be missing.

    Example:
        >>> table = StatsTable(pl.DataFrame({"id": ["a", "b"], "chars": [5, 2], "text_len": [5.0, 2.0]}))
        >>> table.rows, table.stats
        (2, ['text_len'])
        >>> table.numbers("text_len")
        array([5., 2.])
    """

    def __init__(self, frame: pl.DataFrame | pl.LazyFrame) -> None:
        self._frame = frame.lazy()
        self.schema = self._frame.collect_schema()
        self._held = dict[str, pl.Series]()
        self._arrays = dict[str, np.ndarray]()
        self._sources: Sources | None = None
        self._rows: int | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> StatsTable:
        """The table of a lineage file, a folder of them or a pattern; only what is asked for is read.

        Raises:
            DataError: There is no such file.
        """
        where = Path(path)
        where = where / "lineage.parquet" if (where / "lineage.parquet").is_file() else where
        if "*" not in str(where) and not where.exists():
            raise DataError(
                "there is no stats table", code="study.no-table", where=str(where), hint="run the recipe in study mode"
            )
        return cls(pl.scan_parquet(where / "*.parquet" if where.is_dir() else where))

    @property
    def rows(self) -> int:
        """Number of rows."""
        if self._rows is None:
            self._rows = int(self._frame.select(pl.len()).collect().item())
        return self._rows

    @property
    def stats(self) -> list[str]:
        """Columns that were measured, numbers and words."""
        return [name for name in self.schema.names() if name not in FIXED]

    @property
    def numeric(self) -> list[str]:
        """Stats that are numbers."""
        return [name for name in self.stats if self.schema[name].is_numeric()]

    @property
    def words(self) -> list[str]:
        """Stats that are words, such as a language."""
        return [name for name in self.stats if not self.schema[name].is_numeric()]

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self.schema

    def column(self, name: str) -> pl.Series:
        """A column.

        Raises:
            DataError: There is none.
        """
        if name not in self.schema:
            raise DataError(f'the stats table has no column "{name}"', code="study.no-stat",
                            hint=nearest(name, self.stats))  # fmt: skip
        with self._lock:
            if name not in self._held:
                self._held[name] = self._frame.select(name).collect().to_series()
            return self._held[name]

    def numbers(self, name: str) -> np.ndarray:
        """A stat as float64 ``[rows]``; NaN where it was not measured."""
        column = self.column(name)
        if name not in self._arrays:
            self._arrays[name] = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return self._arrays[name]

    def chars(self) -> np.ndarray | None:
        """Characters of each text, int64 ``[rows]``, if the table has them."""
        name = "chars" if self.has("chars") else "text_len"
        if not self.has(name):
            return None
        if "chars" not in self._arrays:
            self._arrays["chars"] = self.column(name).fill_null(0).cast(pl.Int64).to_numpy()
        return self._arrays["chars"]

    def sources(self) -> Sources:
        """The source of each row; one unnamed source if the table has none."""
        if self._sources is None:
            if self.has("source"):
                column = self.column("source").cast(pl.String).fill_null("")
                sizes = column.value_counts().sort("count", "source", descending=[True, False])
                names = sizes["source"].head(MOST_SOURCES).sort().to_list()
                # A table with a source per row has as many as rows: what is asked of each must stay little.
                names += [OTHER] if sizes.height > len(names) and OTHER not in names else []
                rest = names.index(OTHER) if OTHER in names else None
                codes = column.replace_strict(names, range(len(names)), default=rest, return_dtype=pl.Int32)
                self._sources = Sources(tuple(names), codes.to_numpy())
            else:
                self._sources = Sources(("",), np.zeros(self.rows, np.int32))
        return self._sources

    def source_of(self, positions: np.ndarray) -> list[str]:
        """The own source of some rows; empty where the table has none."""
        if not self.has("source"):
            return [""] * len(positions)
        return self.column("source").gather(positions).cast(pl.String).fill_null("").to_list()

    def ids(self, positions: np.ndarray) -> list[str]:
        """Ids of some rows; their positions where the table has none."""
        if not self.has("id"):
            return [str(p) for p in positions.tolist()]
        # Ids are long and rarely asked for, so they are not held.
        rows = self._frame.select("id").with_row_index("at").filter(pl.col("at").is_in(positions.tolist())).collect()
        names = dict(zip(rows["at"].to_list(), rows["id"].to_list(), strict=True))
        return [str(names[p]) for p in positions.tolist()]

    def is_number(self, stat: str) -> bool:
        """Whether a column holds numbers."""
        return stat in self.schema and self.schema[stat].is_numeric()

    def gone(self, ops: Sequence[tuple[str, Op]]) -> dict[str, np.ndarray]:
        """By operation that measures nothing, the rows it dropped that stay dropped whatever the thresholds.

        Those are the rows of filters without a number and of mappers, and of deduplicators and selectors those that
        a later filter could not measure. The others of these stand to be decided again.

        Args:
            ops: The recipe.

        Returns:
            bool ``[rows]`` by name; without the operations that dropped none.
        """
        if not self.has("dropped_by"):
            return {}
        dropped_by = self.column("dropped_by").cast(pl.String)
        unmeasured = np.zeros(self.rows, np.bool_)
        for criterion in criteria(ops):
            for stat in filter(self.is_number, criterion.stats):
                unmeasured |= self.column(stat).is_null().to_numpy()
        found = dict[str, np.ndarray]()
        for name, op in ops:
            if isinstance(op, Filter) and op.stats:
                continue
            rows = (dropped_by == name).fill_null(value=False).to_numpy()
            rows = rows & unmeasured if isinstance(op, Barrier) else rows
            if rows.any():
                found[name] = rows
        return found

    def check_complete(self, needed: Sequence[Criterion], among: np.ndarray | None = None) -> None:
        """Whether the numbers of all criteria are known for every row. What is no number may be null.

        Args:
            needed: The criteria.
            among: Rows that count, bool ``[rows]``; all if not given.

        Raises:
            DataError: Some are not: rows that another filter had dropped were not measured.
        """
        for criterion in needed:
            for stat in criterion.stats:
                column = self.column(stat)
                if not column.dtype.is_numeric():
                    continue
                unknown = column.is_null().to_numpy()
                missing = int(np.count_nonzero(unknown if among is None else unknown & among))
                if missing:
                    raise DataError(
                        f'"{stat}" is not known for {missing:,} of {self.rows:,} rows',
                        code="study.incomplete",
                        hint="run the recipe in study mode: a plain run measures only what it needs",
                    )
