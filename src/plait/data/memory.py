"""Giving memory back to the system between two kinds of work."""

from __future__ import annotations

import ctypes
import gc
import sys

import pyarrow as pa


def give_back() -> None:
    """Return freed memory that allocators hold for later.

    After many chunks, most of what a process holds is such memory. What follows (a barrier) allocates in other
    sizes, so it would come on top.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
