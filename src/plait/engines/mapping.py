"""What mapping over shards is on every engine: names of shards, the errors for them, and the plain loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from plait.engines.base import OnDone
from plait.engines.mailbox import Died
from plait.engines.wire import summary
from plait.errors import EngineError, PlaitError, UsageError

T = TypeVar("T")
R = TypeVar("R")


def map_here(function: Callable[[T], R], shards: Sequence[T], on_done: OnDone | None) -> list[R]:
    """One shard after the other, in this process."""
    results: list[R] = []
    for index, shard in enumerate(shards):
        name = shard_name(index, len(shards))
        try:
            results.append(function(shard))
        except PlaitError as error:
            error.add_note(f"while working on {name}")
            raise
        except Exception as error:
            raise EngineError(
                f"{name} failed: {summary(error)}",
                code="engine.shard-failed",
                hint="the traceback above says where",
            ) from error
        if on_done is not None:
            on_done(index + 1, len(shards))
    return results


def shard_name(index: int, total: int) -> str:
    """How a shard is called in errors; counted from 0, as in Python.

    Example:
        >>> shard_name(3, 8)
        'shard 3 of 8'
    """
    return f"shard {index} of {total}"


@contextmanager
def working_on(shard: str) -> Generator[None]:
    """Turns the death of a worker into an error that names the shard it had."""
    try:
        yield
    except Died as died:
        raise EngineError(
            f"the worker running {shard} died: {died}",
            code="engine.worker-died",
            hint="give it less at a time (smaller shards, fewer workers); "
            "the local engine with workers=1 shows the fault here",
        ) from died


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def at_least_one(workers: int) -> int:
    """Check a number of workers.

    Raises:
        UsageError: It is below 1.
    """
    if workers < 1:
        raise UsageError(f"workers = {workers}", code="engine.workers", hint="use 1 or more")
    return workers
