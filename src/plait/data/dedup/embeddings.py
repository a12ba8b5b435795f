"""Vectors that point the same way: exact by blocks, or by an index of near neighbours where there are many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.core.optional import require

if TYPE_CHECKING:
    from plait.data.op import Rows

EXACT_ROWS = 20_000
"""Up to so many rows, every pair is compared."""
_BLOCK = 2_048
_NEIGHBOURS = 64
_LINKS, _BUILD, _SEARCH = 32, 80, 128  # of the graph: neighbours of a node, width of the search


def similar_pairs(rows: Rows, name: str, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows whose vectors have a cosine of at least the threshold, the lower row first.

    Up to `EXACT_ROWS` rows all of them; beyond, those among the 64 nearest neighbours that a graph (HNSW) finds, each
    verified by its exact cosine. The graph is built in one thread, so that it is the same every time.

    Args:
        rows: All rows; the key holds vectors of length 1, float32 ``[rows, width]``.
        name: The key.
        threshold: Least cosine.

    Source: Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using HNSW graphs".
    """
    if rows.count <= EXACT_ROWS:
        yield from _all_pairs(rows.key(name), threshold)
    else:
        yield from _near_pairs(rows, name, threshold)


def _all_pairs(vectors: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for begin in range(0, len(vectors), _BLOCK):
        block = vectors[begin : begin + _BLOCK]
        for other in range(0, begin + 1, _BLOCK):
            cosine = block @ vectors[other : other + _BLOCK].T
            high, low = np.nonzero(cosine >= threshold)
            high, low = high + begin, low + other
            yield low[low < high], high[low < high]


def _near_pairs(rows: Rows, name: str, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    faiss: Any = require("faiss", extra="data", feature="semantic deduplication of many rows")
    width = (
        rows.key(name, slice(0, None)).shape[1] if rows.count <= _BLOCK else next(iter(rows.parts(name)))[1].shape[1]
    )
    index = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = _BUILD, _SEARCH
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        for _, part in rows.parts(name):
            index.add(np.ascontiguousarray(part, np.float32))
        for start, part in rows.parts(name):
            for begin in range(0, len(part), _BLOCK):
                asked = np.ascontiguousarray(part[begin : begin + _BLOCK], np.float32)
                cosine, found = index.search(asked, min(_NEIGHBOURS, rows.count))
                own = np.repeat(np.arange(len(asked)) + start + begin, found.shape[1]).reshape(found.shape)
                near = (cosine >= threshold) & (found >= 0) & (found != own)
                yield np.minimum(own, found)[near], np.maximum(own, found)[near]
    finally:
        faiss.omp_set_num_threads(threads)
