"""How the C library treats freed memory: kept while many chunks are worked on, then given back to the system."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_ARENAS = -1, -3, -8  # of glibc's mallopt
_LARGE = 1 << 20


def keep() -> None:
    """From now on, keep what is freed for what is allocated next, in one pool for all threads.

    Every chunk allocates columns and buffers of the same few sizes. glibc would return each to the system and ask for
    it again, and the system clears every page before it hands it out: a tenth of the time of a pass. That there is one
    pool holds for threads that have not begun, so a program calls this before it starts any.
    """
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MOST_ARENAS, 1)
        libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_TRIM_THRESHOLD, 1 << 30)


def give_back() -> None:
    """Return what was kept, and from now on large arrays as soon as they are free.

    After many chunks, most of what a process holds is such memory. What follows (a barrier, then writing) allocates in
    other sizes, so it would come on top. glibc would by and by keep arrays of up to 32 MiB as well: of 4 GB of text,
    100 MiB.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _LARGE)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc: musl and others have nothing to set."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if libc is not None and hasattr(libc, "malloc_trim") else None
