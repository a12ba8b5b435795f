"""Equal texts: 128-bit digests, compared."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from plait.data.utf8 import buffers

if TYPE_CHECKING:
    import polars as pl

PYTHON_BLANKS = "".join(
    map(
        chr,
        (
            *range(9, 14),
            *range(28, 33),
            0x85,
            0xA0,
            0x1680,
            *range(0x2000, 0x200B),
            0x2028,
            0x2029,
            0x202F,
            0x205F,
            0x3000,
        ),
    )
)
"""What ``str.strip`` removes."""


def digests(texts: pl.Series) -> np.ndarray:
    """128-bit xxHash (XXH3) of each text, uint64 ``[texts, 2]``.

    The digest of a text is the same on every machine and with every release of a library.
    """
    from xxhash import xxh3_128_digest

    data, starts = buffers(texts)
    view, edges = memoryview(cast("Any", data)), starts.tolist()
    found = b"".join([xxh3_128_digest(view[a:b]) for a, b in pairwise(edges)])
    return np.frombuffer(found, np.uint64).reshape(-1, 2)
