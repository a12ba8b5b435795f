"""The Ray engine: the same work on a Ray cluster, or on a Ray that is started quietly on this machine.

Work travels as the same packed messages as on the local engine, so results, failures and what can be sent are
equal; Ray places the processes and moves the bytes. A map retries nothing behind the caller's back: a stage may
write files. A stream does; see `plait.engines.ray_data`.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from plait.core.optional import require
from plait.engines.base import OnDone
from plait.engines.host import Host
from plait.engines.mailbox import Died, Mailbox
from plait.engines.mapping import at_least_one, processors, shard_name, working_on
from plait.engines.ray_wire import import_from, pack_for_ray, ray_dumps
from plait.engines.wire import attempt, outcome, pack, unpack
from plait.errors import EngineError, UsageError

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_S = 10.0  # for cancelled work to end
_TRUSTED_ALIVE_S = 0.5  # an actor that replied this recently is not asked whether it is still there


class RayEngine:
    """Runs work on Ray.

    Args:
        address: The cluster to join: ``host:6379``, ``ray://host:10001``, or ``auto``. Without it,
            ``RAY_ADDRESS`` if that is set, else a Ray of our own on this machine, ended by `close`.
        workers: How many shards run at a time; the processors of the cluster when not given.

    Raises:
        MissingExtra: Ray is not installed.
        EngineError: The cluster cannot be joined, or Ray cannot be started.

    Example:
        >>> with RayEngine(address="head:6379") as engine:  # doctest: +SKIP
        ...     engine.map(len, ["a", "bc"])
        [1, 2]
    """

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._workers = None if workers is None else at_least_one(workers)
        self._ray: Any = require("ray", extra="ray", feature="the ray engine")
        started = _connect(self._ray, address, self._workers)
        self._actors: list[Mailbox] = []
        self._streams = weakref.WeakSet[Generator[Any]]()
        # Also ends them when the engine is dropped, or the program ends, without `close`.
        self._end = weakref.finalize(self, _end_all, self._streams, self._actors, self._ray if started else None)

    @property
    def workers(self) -> int:
        """How many shards run at a time by default."""
        if self._workers is not None:
            return self._workers
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

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
        run = self._ray.remote(_run).options(num_cpus=1, max_retries=0)
        plan = self._ray.put(pack_for_ray(function, what="the function to map"))
        total = len(shards)
        results: list[Any] = [None] * total
        waiting = iter(range(total))
        busy: dict[Any, int] = {}
        done = 0
        try:
            while done < total:
                for index in islice(waiting, at_once - len(busy)):
                    packed = self._ray.put(pack(shards[index], what=shard_name(index, total), dumps=ray_dumps))
                    busy[run.remote(plan, packed, sys.path)] = index
                finished, _ = self._ray.wait(list(busy), num_returns=1)
                for reference in finished:
                    index = busy.pop(reference)
                    name = shard_name(index, total)
                    with working_on(name):
                        reply = _get(self._ray, reference)
                    results[index] = outcome(reply, what=name, code="engine.shard-failed")
                    done += 1
                    if on_done is not None:
                        on_done(done, total)
        finally:
            # What is still running here, after a failure or Ctrl-C, is work that nobody waits for.
            for reference in busy:
                self._ray.cancel(reference, force=True)
            if busy:
                # Until they are gone: a cancellation that is still on its way can hit the next task of that
                # worker.
                self._ray.wait(list(busy), num_returns=len(busy), timeout=_PATIENCE_S)
        return results

    def stream(self, function: Callable[[T], R], shards: Iterable[T], *, workers: int | None = None) -> Iterator[R]:
        """See `plait.engines.base.Engine.stream`; Ray Data runs it, a block per shard."""
        from plait.engines import ray_data

        self._check_open()
        at_once = self.workers if workers is None else at_least_one(workers)
        results = ray_data.stream(self._ray, function, shards, at_once)
        self._streams.add(results)
        return self._to_the_end(results)

    def _to_the_end(self, results: Generator[R]) -> Generator[R]:
        """So that a stream that `close` cut off does not look like one that came to its end."""
        with closing(results):
            yield from results
        self._check_open()

    def actor(self, cls: Callable[..., Any], *args: Any, restarts: int = 0) -> Mailbox:
        """See `plait.engines.base.Engine.actor`."""
        self._check_open()
        ray, name = self._ray, getattr(cls, "__name__", str(cls))
        plan = ray.put(pack_for_ray((cls, args), what=f"actor {name}"))
        mailbox = Mailbox(name, lambda: _RayPlace(ray, plan), restarts=restarts)
        self._actors.append(mailbox)
        return mailbox

    def close(self) -> None:
        """See `plait.engines.base.Engine.close`; a cluster that was joined goes on."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._end.alive:
            raise UsageError("this engine is closed", code="engine.closed", hint="open a new one")


class _RayPlace:
    """A `Place` that is a Ray actor; the mailbox sends it one message at a time and restarts it."""

    def __init__(self, ray: Any, plan: Any) -> None:
        self._ray = ray
        # No processor is reserved: hundreds of actors mostly wait, and must not keep a map from starting.
        options = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": 1, "scheduling_strategy": "SPREAD"}
        self._actor = ray.remote(_RayHost).options(**options).remote(plan, sys.path)
        self._replied = 0.0

    def alive(self) -> bool:
        if time.monotonic() - self._replied < _TRUSTED_ALIVE_S:
            return True
        try:
            return _get(self._ray, self._actor.ready.remote())
        except Died:
            return False

    def exchange(self, message: bytes) -> bytes:
        reply = _get(self._ray, self._actor.call.remote(message))
        self._replied = time.monotonic()
        return reply

    def kill(self) -> None:
        self._ray.kill(self._actor, no_restart=True)

    def leave(self) -> None:
        self._ray.kill(self._actor, no_restart=True)


class _RayHost(Host):
    """The Ray actor."""

    def __init__(self, plan: bytes, path: list[str]) -> None:
        import_from(path)
        super().__init__(plan, dumps=ray_dumps)


def _run(plan: bytes, shard: bytes, path: list[str]) -> bytes:
    """The Ray task: one shard."""
    import_from(path)
    return attempt(lambda: unpack(plan)(unpack(shard)), dumps=ray_dumps)


def _get(ray: Any, reference: Any) -> Any:
    """Wait for a reply.

    Raises:
        Died: The process, its machine or its data is gone.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise Died(str(error).strip().splitlines()[0]) from error


def _connect(ray: Any, address: str | None, workers: int | None) -> bool:
    """Join or start Ray unless this program already did; whether it is ours to shut down."""
    if ray.is_initialized():
        return False
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    # Read by Ray's own processes when they start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray prints notices about died workers to stdout, where --json output goes; we raise an error instead,
    # and this switch (the one Ray's debugger uses) is the only way to have it silent.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if target == "local":
            options |= {"num_cpus": workers or processors(), "include_dashboard": False}
            loopback = True
        else:
            loopback = _only_on_loopback(ray, target)
        with _on_loopback(ray) if loopback else nullcontext():
            ray.init(address=target, **options)
    # ValueError: a bad address; ConnectionError: nobody there; RuntimeError: versions differ, or Ray did not
    # come up.
    except (ValueError, ConnectionError, RuntimeError, OSError) as error:
        raise EngineError(
            f"cannot {'start Ray' if target == 'local' else 'join the Ray cluster'}: {str(error).strip()}",
            code="engine.cannot-connect",
            where=target,
            hint="check the address, and that both sides run the same versions of Python and Ray",
        ) from error
    return True


def _only_on_loopback(ray: Any, target: str) -> bool:
    """Whether an address leads to a Ray that only this machine can reach.

    Raises:
        OSError: Nobody listens there; Ray itself would try for minutes.
    """
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return False
    socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    if target.startswith("ray://") or host not in ("127.0.0.1", "::1", "localhost"):
        return False
    try:
        # Ray takes a loopback address to mean this machine's outer one, which is this:
        socket.create_connection((ray.util.get_node_ip_address(), int(port)), timeout=1).close()
    except OSError:
        return True
    return False


@contextmanager
def _on_loopback(ray: Any) -> Generator[None]:
    """Keep Ray to the loopback while it starts: whoever reaches its ports can run code.

    On Linux Ray listens on all interfaces, and resolves 127.0.0.1 away if it is given as the node's address.
    On macOS and Windows it keeps to the loopback, by the constant that is set here.
    """
    constants = ray._private.ray_constants
    before = constants.ENABLE_RAY_CLUSTER
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _end_all(streams: Iterable[Generator[Any]], actors: list[Mailbox], ours: Any) -> None:
    for stream in list(streams):
        stream.close()  # or Ray Data, which goes on in a thread of its own, would start Ray anew
    for mailbox in actors:
        mailbox.stop()
    actors.clear()
    if ours is not None:
        ours.shutdown()
