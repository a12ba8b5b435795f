"""Shards as the blocks of a Ray dataset: Ray Data places them, bounds what is under way, and keeps their order.

A shard whose worker is lost, with its machine or alone, is run again elsewhere, `TRIES` times in all; Ray Data by
itself would do so without end.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa

from plait.core.optional import require
from plait.engines.mailbox import Died
from plait.engines.mapping import working_on
from plait.engines.ray_wire import import_from, pack_for_ray, ray_dumps
from plait.engines.wire import attempt, outcome, pack, unpack
from plait.errors import EngineError, UsageError

TRIES = 3
"""How often a shard is run before the loss of its worker counts as its own fault."""

_WINDOW = 256  # shards per worker that are made one dataset: for a pass over chunks of text, a minute of work or more


def stream(ray: Any, function: Callable[[Any], Any], shards: Iterable[Any], workers: int) -> Generator[Any]:
    """What `plait.engines.base.Engine.stream` does, on a Ray that is connected.

    Raises:
        UsageError: It is connected through a Ray client, which runs no datasets.
    """
    if ray.util.client.ray.is_connected():
        raise UsageError(
            "Ray Data does not run through a Ray client (an address ray://...)",
            code="engine.client",
            hint="run this on a machine of the cluster, with the address host:6379 or auto",
        )
    require("ray.data", extra="ray", feature="the ray engine")
    plan = pack_for_ray(function, what="the function to map")
    packed = (pack(shard, what=f"shard {index}", dumps=ray_dumps) for index, shard in enumerate(shards))
    with closing(_replies(ray, plan, packed, workers)) as replies:
        for index, reply in enumerate(replies):
            name = f"shard {index}"
            with working_on(name):
                if reply is None:
                    raise Died(f"{TRIES} times, each time with another one")
            yield outcome(reply, what=name, code="engine.shard-failed")


def _replies(ray: Any, plan: bytes, shards: Iterable[bytes], workers: int) -> Generator[bytes | None]:
    """In order of the shards, what `outcome` reads; None for a shard that was tried too often."""
    waiting = iter(shards)
    while window := list(islice(waiting, _WINDOW * workers)):
        dataset = _dataset(ray, plan, window, workers)
        replies = iter(dataset.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0))
        with _quietly(), closing(replies):
            try:
                for table in replies:
                    yield table["reply"][0].as_py()
            except ray.exceptions.RayError as error:
                raise EngineError(
                    f"Ray cannot go on: {str(error).strip().splitlines()[0]}",
                    code="engine.worker-died",
                    hint="look at the machines of the cluster; what is finished is kept",
                ) from error


def _dataset(ray: Any, plan: bytes, shards: list[bytes], workers: int) -> Any:
    """The replies to be, a block per shard."""
    capped = workers < ray.cluster_resources().get("CPU", 1)
    blocks = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    replies = blocks.map_batches(
        _run_block,
        fn_kwargs={"plan": plan, "path": sys.path},
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        compute=ray.data.TaskPoolStrategy(size=workers if capped else None),
    )
    context = replies.context
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    # All tasks are handed to Ray at once, which knows when a processor is free; Ray Data learns of it later, and would
    # keep one of two processors idle.
    context.op_resource_reservation_enabled = False
    return replies


def _run_block(block: pa.Table, *, plan: bytes, path: list[str]) -> pa.Table:
    """The task: one block, which is one shard."""
    import_from(path)
    if _workers_lost() >= TRIES:
        return _reply(None)
    shard: bytes = block["shard"][0].as_py()
    return _reply(attempt(lambda: unpack(plan)(unpack(shard)), dumps=ray_dumps))


def _workers_lost() -> int:
    """How many workers were lost while they ran this very task; Ray tells it by no public way."""
    ray: Any = sys.modules["ray"]
    return ray._private.worker.global_worker.core_worker.get_current_task_attempt_number()


def _reply(packed: bytes | None) -> pa.Table:
    return pa.table({"reply": pa.array([packed], pa.large_binary())})


@contextmanager
def _quietly() -> Generator[None]:
    """Keep Ray Data's remarks off the terminal while it works; errors are raised."""
    logger = logging.getLogger("ray.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
