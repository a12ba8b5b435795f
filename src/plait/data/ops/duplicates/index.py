"""What an index of earlier releases holds already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from plait.data.batch import session
from plait.data.op import Filter
from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Need


class IndexDeduplicator(Filter):
    """Drops near copies of what an index of earlier releases holds.

    Similarity is the exact Jaccard similarity of shingle sets, as in ``document_minhash_deduplicator``. Rows are looked
    up one by one: near copies among themselves are another operation's concern. Build the index with
    `plait.data.dedup.index.Index`.

    Example:
        - index_deduplicator: {path: releases/index, before: "2026-06"}

    Source: Plait's own; after Broder 1997, "On the resemblance and containment of documents".
    """

    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stats: ClassVar[tuple[str, ...]] = ("index_jaccard", "index_release", "index_id")

    path: Path
    """Folder of the index."""
    before: str | None = None
    """Look at releases named lower than this only, so that a release may be in the index it is compared with."""
    jaccard_threshold: float | None = Field(default=None, gt=0, le=1)
    """Least share of shingles in common, 0 to 1; the index's own if not given, and not below that."""

    def ready(self) -> None:
        """Looks for the index, and whether it finds what is asked."""
        from plait.data.dedup.manifest import Manifest

        least = Manifest.read(self.path).settings.threshold
        if self.jaccard_threshold is not None and self.jaccard_threshold < least:
            raise UsageError(
                f"jaccard_threshold is {self.jaccard_threshold}, but the index finds nothing below {least}",
                code="data.index-settings",
                where=str(self.path),
                hint="leave jaccard_threshold out, or make another index with a lower --threshold",
            )

    def measure(self, batch: Batch) -> Columns:
        """The most similar document of the index: its similarity (0 if none is near), its release, its id."""
        from plait.data.dedup.index import Latest

        index = session(self, lambda: Latest(self.path)).index()
        best = index.nearest(batch, text_key=self.text_key, before=self.before)
        rows = pl.DataFrame({"row": np.arange(len(batch))})
        found = rows.join(best, on="row", how="left", maintain_order="left")
        return {
            "index_jaccard": found["jaccard"].fill_null(0.0).to_numpy(),
            "index_release": found["release"],
            "index_id": found["id"],
        }

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether nothing in the index is as similar as the threshold asks."""
        del batch
        similarity = np.asarray(stats["index_jaccard"])
        return similarity < self.jaccard_threshold if self.jaccard_threshold else similarity == 0
