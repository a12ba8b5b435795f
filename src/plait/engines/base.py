"""What every engine offers: map a function over shards; host actors.

Functions, actor classes and everything they are given or return travel between processes by pickle, between
processes of our own only; nothing is unpickled from a file or from the network at large. Functions and
classes must therefore be importable (defined at the top of a module), on every engine and with any number of
workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

OnDone = Callable[[int, int], None]
"""Told ``(finished, total)`` shards each time one finishes, in the caller's thread."""


class ActorHandle(Protocol):
    """An object that lives in a process of its own and does one call at a time, in the order of the calls."""

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Ask the actor to run ``method(*args)``; returns at once.

        The arguments are copied now, so changing them afterwards has no effect on the call. Safe from any
        thread.

        Returns:
            The result to come. It holds the `PlaitError` that the method raised; an `EngineError` whose cause
            is the remote traceback for any other exception; an `EngineError` if the actor died during this
            call or was stopped.

        Raises:
            EngineError: The arguments cannot be sent to another process.
        """
        ...

    def stop(self) -> None:
        """End the actor and its process; what is running or waiting fails with an `EngineError`."""
        ...


class Engine(Protocol):
    """Where work runs. Use it as a context manager, or call `close`: no process outlives it."""

    name: str

    def map(
        self,
        function: Callable[[T], R],
        shards: Sequence[T],
        *,
        workers: int | None = None,
        on_done: OnDone | None = None,
    ) -> list[R]:
        """Run ``function(shard)`` for every shard, several at a time.

        Args:
            function: Importable by name (a top-level function, or a `functools.partial` of one).
            shards: What to work on; each is sent to one worker once.
            workers: How many run at a time; the engine's own number when not given.
            on_done: Told how many of how many shards are finished.

        Returns:
            The results in the order of the shards, whatever finished first.

        Raises:
            PlaitError: The one the function raised.
            EngineError: Another exception in a shard, or its worker died; names the shard, counted from 0.
                The other shards are abandoned.
        """
        ...

    def stream(self, function: Callable[[T], R], shards: Iterable[T], *, workers: int | None = None) -> Iterator[R]:
        """The same for more shards than are known at once: results come in order of the shards, as they are there.

        Args:
            function: As for `map`; an engine of many machines may run it on a shard again whose worker was lost.
            shards: Taken some at a time.
            workers: How many run at a time; the engine's own number when not given.

        Raises:
            PlaitError: The one the function raised.
            EngineError: Another exception in a shard, or its worker died.
        """
        ...

    def actor(self, cls: Callable[..., Any], *args: Any, restarts: int = 0) -> ActorHandle:
        """Start ``cls(*args)`` in a process of its own; returns before it is built.

        Args:
            cls: Importable class (or function that builds the object).
            args: Given to it. An exception while building is the answer to every call.
            restarts: How often a died process is replaced by building the object anew; its state is lost, and
                the call that was running fails.
        """
        ...

    def close(self) -> None:
        """Stop all actors and end all processes; the engine cannot be used afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
