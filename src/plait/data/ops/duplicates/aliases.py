"""Data-Juicer's other names for the same deduplicators: those for Ray, and those for rows with a number of their own.

Which engine runs is a setting of the run, not another operation; what only concerns Data-Juicer's Ray actors is
accepted so that recipes run as they are, and changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from plait.data.ops.duplicates.documents import DocumentDeduplicator
from plait.data.ops.duplicates.minhash import DocumentMinhashDeduplicator

if TYPE_CHECKING:
    import numpy as np

    from plait.data.op import Rows


class RayDocumentDeduplicator(DocumentDeduplicator):
    """Drops exact copies; another name of ``document_deduplicator``.

    Unlike Data-Juicer: the first row stays, there any of the equal ones; empty texts are duplicates of each other.

    Example:
        - ray_document_deduplicator: {backend: ray_actor}

    Source: Data-Juicer 1.6.1, ``ray_document_deduplicator``.
    """

    backend: str = "ray_actor"
    """Accepted and without effect."""
    redis_address: str = "redis://localhost:6379"
    """Accepted and without effect: no server is needed."""
    dedup_set_num: int | str = "auto"
    """Accepted and without effect."""


class DocumentMinhashDeduplicatorWithUid(DocumentMinhashDeduplicator):
    """Drops near copies and keeps the row with the lowest ``__dj__uid``.

    Rows of an earlier release, numbered lower, stay. See ``index_deduplicator`` for one that does not need them.

    Example:
        - document_minhash_deduplicator_with_uid: {jaccard_threshold: 0.7}

    Source: Data-Juicer 1.6.1, ``document_minhash_deduplicator_with_uid``.
    """

    uid_key: str = "__dj__uid"
    """Field of the number; without doubles."""

    def preferred(self, rows: Rows, positions: np.ndarray) -> np.ndarray:
        """The lowest number first."""
        frame = pl.DataFrame({"uid": rows.fetch(self.uid_key, positions), "position": positions})
        return frame.sort("uid", "position", nulls_last=True)["position"].to_numpy()


class RayBtsMinhashDeduplicator(DocumentMinhashDeduplicator):
    """Drops near copies; another name of ``document_minhash_deduplicator``.

    Example:
        - ray_bts_minhash_deduplicator: {jaccard_threshold: 0.7, union_find_parallel_num: 8}

    Source: Data-Juicer 1.6.1, ``ray_bts_minhash_deduplicator``.
    """

    union_find_parallel_num: int | str = "auto"
    """Accepted and without effect."""
    union_threshold: int | None = 256
    """Accepted and without effect."""
    max_pending_edge_buffer_task: int | None = 20
    """Accepted and without effect."""
    num_edge_buffer_task_returns: int | None = 10
    """Accepted and without effect."""
    max_pending_filter_tasks: int | None = 20
    """Accepted and without effect."""
    num_filter_task_returns: int | None = 10
    """Accepted and without effect."""
    merge_batch_size: int | None = 1000
    """Accepted and without effect."""
    minhash_batch_size: int | str | None = "auto"
    """Accepted and without effect."""
    memory_per_sample: float | None = 0.1
    """Accepted and without effect."""
    actor_memory: int | None = None
    """Accepted and without effect."""
    task_memory: int | None = None
    """Accepted and without effect."""


class RayBtsMinhashDeduplicatorWithUid(RayBtsMinhashDeduplicator, DocumentMinhashDeduplicatorWithUid):
    """Drops near copies and keeps the lowest ``__dj__uid``; see ``document_minhash_deduplicator_with_uid``.

    Example:
        - ray_bts_minhash_deduplicator_with_uid: {jaccard_threshold: 0.7}

    Source: Data-Juicer 1.6.1, ``ray_bts_minhash_deduplicator_with_uid``.
    """


class RayBtsMinhashCppDeduplicator(RayBtsMinhashDeduplicator):
    """Drops near copies; another name of ``document_minhash_deduplicator``, compiled here, too.

    Example:
        - ray_bts_minhash_cpp_deduplicator: {jaccard_threshold: 0.7}

    Source: Data-Juicer 1.6.1, ``ray_bts_minhash_cpp_deduplicator``.
    """
