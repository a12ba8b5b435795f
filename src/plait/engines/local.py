"""The local engine: a pool of processes on this machine, and one process per actor.

Processes are spawned, never forked: torch, polars and arrow hold threads and locks that a fork would break. A
    worker is reused
by later maps, because importing what a function needs often costs more than the work.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from plait.engines.base import OnDone
from plait.engines.host import Shards
from plait.engines.mailbox import Mailbox
from plait.engines.mapping import at_least_one, map_here, processors, shard_name, working_on
from plait.engines.process import Child, ready
from plait.engines.wire import outcome, pack
from plait.errors import UsageError

T = TypeVar("T")
R = TypeVar("R")

_SHARDS_PER_WORKER = 16  # of a stream, at a time


class LocalEngine:
    """Runs work in processes of this machine.

    Args:
        workers: How many shards run at a time; the processors this process may use when not given. With 1,
            `map` runs in this process, which is easiest to debug. Each process may use ``processors //
            workers`` threads.

    Example:
        >>> with LocalEngine(workers=1) as engine:
        ...     engine.map(len, ["a", "bc"])
        [1, 2]
    """

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = at_least_one(processors() if workers is None else workers)
        self._threads = max(1, processors() // self.workers)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._actors: list[Mailbox] = []
        # Also ends them when the engine is dropped, or the program ends, without `close`.
        self._end = weakref.finalize(self, _end_all, self._idle, self._actors)

    def map(
        self,
        function: Callable[[T], R],
        shards: Sequence[T],
        *,
        workers: int | None = None,
        on_done: OnDone | None = None,
    ) -> list[R]:
        """See `plait.engines.base.Engine.map`."""
        self._check_open()
        at_once = self.workers if workers is None else at_least_one(workers)
        # Packed even where nothing travels, so that what works with one worker works with two.
        plan = pack((Shards, (function,)), what="the function to map")
        if at_once == 1:
            return map_here(function, shards, on_done)
        return self._map_apart(plan, shards, min(at_once, len(shards)), on_done)

    def stream(self, function: Callable[[T], R], shards: Iterable[T], *, workers: int | None = None) -> Iterator[R]:
        """See `plait.engines.base.Engine.stream`."""
        at_once = self.workers if workers is None else at_least_one(workers)
        waiting = iter(shards)
        while some := list(islice(waiting, _SHARDS_PER_WORKER * at_once)):
            yield from self.map(function, some, workers=workers)

    def actor(self, cls: Callable[..., Any], *args: Any, restarts: int = 0) -> Mailbox:
        """See `plait.engines.base.Engine.actor`."""
        self._check_open()
        name = getattr(cls, "__name__", str(cls))
        plan, threads = pack((cls, args), what=f"actor {name}"), self._threads
        mailbox = Mailbox(name, lambda: Child(plan, threads=threads), restarts=restarts)
        self._actors.append(mailbox)
        return mailbox

    def close(self) -> None:
        """See `plait.engines.base.Engine.close`."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _map_apart(self, plan: bytes, shards: Sequence[Any], workers: int, on_done: OnDone | None) -> list[Any]:
        total = len(shards)
        results: list[Any] = [None] * total
        waiting = iter(range(total))
        free = [self._worker(plan) for _ in range(workers)]
        busy: dict[Child, int] = {}
        done = 0
        try:
            while done < total:
                while free and (index := next(waiting, None)) is not None:
                    message = pack(("run", (shards[index],)), what=shard_name(index, total))
                    child = free.pop()
                    busy[child] = index
                    with working_on(shard_name(index, total)):
                        child.send(message)
                for child in ready(busy):
                    index = busy[child]
                    with working_on(shard_name(index, total)):
                        reply = child.receive()
                    del busy[child]
                    free.append(child)
                    results[index] = outcome(reply, what=shard_name(index, total), code="engine.shard-failed")
                    done += 1
                    if on_done is not None:
                        on_done(done, total)
        finally:
            # What is still running here, after a failure or Ctrl-C, is work that nobody waits for.
            for child in busy:
                child.kill()
                child.leave()
            with self._lock:
                self._idle.extend(free)
        return results

    def _worker(self, plan: bytes) -> Child:
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return Child(plan, threads=self._threads)
            if child.alive():
                child.build(plan)
                return child
            child.leave()

    def _check_open(self) -> None:
        if not self._end.alive:
            raise UsageError("this engine is closed", code="engine.closed", hint="open a new one")


def _end_all(idle: list[Child], actors: list[Mailbox]) -> None:
    for mailbox in actors:
        mailbox.stop()
    for child in idle:
        child.leave()
    actors.clear()
    idle.clear()
