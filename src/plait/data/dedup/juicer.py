"""Band keys as Data-Juicer computes them, to decide as it does, bugs and all."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from plait.data.dedup.signatures import fold_bands
from plait.data.loops import compiled
from plait.data.utf8 import starts_of

if TYPE_CHECKING:
    import polars as pl

    from plait.data.dedup.tokens import Shingling

_PRIME = np.uint64((1 << 61) - 1)
_LOW = np.uint64(0xFFFFFFFF)
_SEED = 42


def band_keys(texts: pl.Series, shingling: Shingling, permutations: int, bands: int, rows: int) -> np.ndarray:
    """One key per band of each text, uint64 ``[texts, bands]``.

    Shingles are the first four bytes of their SHA-1, permutations ``(a x + b) mod (2^61 - 1)`` of which the low half
    counts, with ``a x + b`` left to overflow. A text without shingles has a key, too: the same as all others
    without. Python, row by row.

    Source: Data-Juicer 1.6.1, ``document_minhash_deduplicator``.
    """
    random = np.random.RandomState(seed=_SEED)
    limit = int(_PRIME)
    drawn = [
        (random.randint(1, limit, dtype=np.uint64), random.randint(0, limit, dtype=np.uint64))
        for _ in range(permutations)
    ]
    factors, offsets = np.array(drawn, np.uint64).T[:, : bands * rows].copy()
    hashes = [[_sha(shingle) for shingle in shingling.strings(text)] for text in texts.to_list()]
    flat = np.array([value for some in hashes for value in some], np.uint64)
    starts = starts_of(np.array([len(some) for some in hashes], np.int64))
    return fold_bands(_signatures(flat, starts, factors, offsets), bands, rows)


def _sha(shingle: str) -> int:
    return int.from_bytes(hashlib.sha1(shingle.encode(), usedforsecurity=False).digest()[:4], "little")


@compiled
def _signatures(shingles: np.ndarray, starts: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    out = np.empty((len(starts) - 1, len(factors)), np.uint32)
    for d in range(len(starts) - 1):
        for p in range(len(factors)):
            least = _LOW
            for i in range(starts[d], starts[d + 1]):
                least = min(least, ((shingles[i] * factors[p] + offsets[p]) % _PRIME) & _LOW)
            out[d, p] = np.uint32(least)
    return out
