"""Giving memory back to the system between two kinds of work."""

from __future__ import annotations

import ctypes
import gc
import sys

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGE = 1 << 20


def give_back() -> None:
    """Return freed memory that allocators hold for later, and from now on that of large arrays as soon as it is free.

    After many chunks, most of what a process holds is such memory. What follows (a barrier, then writing) allocates in
    other sizes, so it would come on top. glibc would by and by keep arrays of up to 32 MiB as well: of 4 GB of text,
    100 MiB.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # glibc has it, musl has not
            libc.mallopt(_MMAP_THRESHOLD, _LARGE)
            libc.mallopt(_TRIM_THRESHOLD, _LARGE)
            libc.malloc_trim(0)
