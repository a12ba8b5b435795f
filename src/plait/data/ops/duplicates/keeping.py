"""Which one of a set of duplicates stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import polars as pl
from pydantic import model_validator

from plait.data.op import Deduplicator
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.op import Rows

Keep = Literal["first", "lowest_id", "best"]


class KeepOne(Deduplicator):
    """A deduplicator that can be told which row of each set stays."""

    keep: Keep = "first"
    """Which row stays: the first of the input, the one with the lowest ``id`` (then the order of the input does not
    matter), or the one with the highest ``score_key``."""
    score_key: str | None = None
    """Field of the score for ``keep: best``, numbers or dates; a row without one comes last."""

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if (self.keep == "best") != (self.score_key is not None):
            raise ValueError("keep: best goes with score_key, the field of the score")
        return self

    def preferred(self, rows: Rows, positions: np.ndarray) -> np.ndarray:
        """Positions, ascending as given, in order of preference."""
        if self.keep == "first":
            return positions
        values = rows.fetch("id" if self.keep == "lowest_id" else self.score_key or "", positions)
        if self.keep == "best":
            values = _ordered(values.alias(self.score_key or ""))
        frame = pl.DataFrame({"value": values, "position": positions})
        best = self.keep == "best"
        return frame.sort("value", "position", descending=[best, False], nulls_last=True)["position"].to_numpy()

    def survivors(
        self, rows: Rows, members: np.ndarray, cluster: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Who goes, for whom, and the size of each cluster.

        Args:
            rows: All rows.
            members: Rows that are not alone, ascending, int64.
            cluster: A number for the cluster of each.
        """
        preferred = self.preferred(rows, members)
        own = cluster[np.searchsorted(members, preferred)]
        _, first, number, sizes = np.unique(own, return_index=True, return_inverse=True, return_counts=True)
        best = preferred[first[number]]
        dropped = preferred != best
        return preferred[dropped], best[dropped], sizes


def _ordered(scores: pl.Series) -> pl.Series:
    """Scores in an order that means something: "10" as text comes before "9"."""
    kind = scores.dtype
    if not (kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean or kind == pl.Null):
        shown = scores.drop_nulls().head(1).to_list()
        raise DataError(
            f"the scores in {scores.name} are {kind}{f' ({shown[0]!r})' if shown else ''}, not numbers",
            code="data.no-score",
            hint="name a field of numbers as score_key",
        )
    return scores.fill_nan(None) if kind.is_float() else scores
