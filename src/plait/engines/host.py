"""The far end: one object in another process, built there and called by messages."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from plait.engines.wire import Dumps, attempt, dumps, unpack

BUILD, CALL = b"build", b"call"

_THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


class Host:
    """Builds an object and answers calls to it.

    Args:
        plan: Packed ``(cls, args)``. If building fails, every call is answered with that failure.
        dumps: Packs the replies.
    """

    def __init__(self, plan: bytes, *, dumps: Dumps = dumps) -> None:
        self._dumps = dumps
        self._subject: Any = None
        self._unbuilt: bytes | None = None

        def build() -> None:
            cls, args = unpack(plan)
            self._subject = cls(*args)

        reply = attempt(build, dumps=dumps)
        if self._subject is None:
            self._unbuilt = reply

    def call(self, message: bytes) -> bytes:
        """Answer a packed ``(method, args)`` with a reply for `plait.engines.wire.outcome`."""
        if self._unbuilt is not None:
            return self._unbuilt

        def work() -> object:
            method, args = unpack(message)
            return getattr(self._subject, method)(*args)

        return attempt(work, dumps=self._dumps)

    def ready(self) -> bool:
        """Whether anybody is here at all."""
        return True


class Shards:
    """The object that a pool worker hosts: one function, run on one shard at a time."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        self._function = function

    def run(self, shard: Any) -> object:
        """``function(shard)``."""
        return self._function(shard)


def serve(pipe: Connection, threads: int) -> None:
    """The main function of a spawned process: build and call until the pipe closes.

    Args:
        pipe: From the engine; each message is two packets, what to do and its packed content.
        threads: How many threads numerical libraries may use here, unless the environment already says.
    """
    # Ctrl-C reaches the whole process group; the engine is the one that ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for variable in _THREAD_LIMITS:
        os.environ.setdefault(variable, str(threads))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    host: Host | None = None
    while True:
        try:
            kind, content = pipe.recv_bytes(), pipe.recv_bytes()
        except (EOFError, OSError):
            return
        if kind == BUILD:
            host = Host(content)
        elif host is not None:
            pipe.send_bytes(host.call(content))


def _die_with_parent() -> None:
    """A parent that is killed cannot clean up; work nobody waits for must not go on."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
