"""Documents that mean the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from plait.data.ops.duplicates.keeping import KeepOne

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Decision, Need, Rows


class SemanticDeduplicator(KeepOne):
    """Drops texts that mean the same as another.

    Texts are embedded by a sentence encoder; those whose vectors have a cosine of at least the threshold are
    connected, and one of each cluster stays. Up to 20,000 rows every pair is compared; beyond, the 64 nearest
    neighbours of each row. The encoder reads the beginning of a text only (256 tokens of all-MiniLM-L6-v2). A row
    takes 4 bytes per number of its vector (1,536), on disk and, beyond 20,000 rows, in memory with its neighbours.

    Example:
        - semantic_deduplicator: {cosine_threshold: 0.95}

    Source: Abbas et al. 2023, "SemDeDup: data-efficient learning at web-scale through semantic deduplication"; here
    all pairs or a graph of neighbours instead of pairs within k-means clusters.
    """

    cost: ClassVar[Cost] = "model"
    needs: ClassVar[frozenset[Need]] = frozenset({"model"})
    stat: ClassVar[str] = "cosine"

    encoder: str = "all-minilm-l6-v2"
    """``all-minilm-l6-v2`` (comes as a package), a folder, or a Hub id that is on this machine."""
    device: str = "cpu"
    """Where the encoder runs."""
    cosine_threshold: float = Field(default=0.95, gt=0, le=1)
    """Least cosine of a pair, 0 to 1."""

    def ready(self) -> None:
        """Looks for the encoder."""
        from plait.data.ops.filters.sentences import SentenceEncoder

        SentenceEncoder(name=self.encoder, device=self.device).ready()

    def keys(self, batch: Batch) -> Columns:
        """The vector of each text; zeros for an empty one."""
        from plait.data.ops.filters.sentences import SentenceEncoder

        texts = batch.text(self.text_key)
        vectors = SentenceEncoder(name=self.encoder, device=self.device).encode(texts.to_list())
        empty = (texts.str.strip_chars() == "").to_numpy()
        return {"vector": np.where(empty[:, None], 0, vectors).astype(np.float32)}

    def decide(self, rows: Rows) -> Decision:
        """Drop texts connected to a preferred one."""
        from plait.data.dedup.clusters import sorted_decision
        from plait.data.dedup.embeddings import similar_pairs
        from plait.data.dedup.unions import components, join_pairs

        parent = np.arange(rows.count)
        pairs = 0
        for first, second in similar_pairs(rows, "vector", self.cosine_threshold):
            join_pairs(parent, first, second)
            pairs += len(first)
        members, cluster = components(parent)
        dropped, survivor, sizes = self.survivors(rows, members, cluster)
        value = _cosines(rows, dropped, survivor)
        facts = {
            "verified": pairs,
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max(initial=0)),
            "linked_below_threshold": int((value < np.float32(self.cosine_threshold)).sum()),
            "threshold": self.cosine_threshold,
        }
        return sorted_decision(dropped, survivor, value, facts)


def _cosines(rows: Rows, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines of pairs of rows, from one look at each part of the vectors."""
    wanted = np.unique(np.concatenate([first, second]))
    if not len(wanted):
        return np.zeros(0)
    found = list[np.ndarray]()
    for start, part in rows.parts("vector"):
        inside = wanted[(wanted >= start) & (wanted < start + len(part))]
        found.append(np.asarray(part[inside - start], np.float32))
    vectors = np.concatenate(found)
    left, right = vectors[np.searchsorted(wanted, first)], vectors[np.searchsorted(wanted, second)]
    return np.einsum("ij,ij->i", left, right, dtype=np.float32).astype(np.float64)
