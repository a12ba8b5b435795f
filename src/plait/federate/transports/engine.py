"""Clients on an engine's actors: processes of this machine, or of many machines under Ray.

Each worker builds its learner once, so the base model is loaded once per worker, not per client. The model of
a phase is handed to a worker once, not per client. What travels is the bytes of payloads and orders, never
objects with code in them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from plait.errors import EngineError
from plait.federate.algorithms.base import Algorithm, Reply, Task
from plait.federate.learner import Learner
from plait.federate.payload import Payload

_ACTOR_DIED = "engine.actor-died"
_AT_ONCE = 2  # tasks a worker is given: one to do, one so that it never waits for us

Answer = tuple[bytes, bytes | None] | None
"""Payload and memory of a reply; ``None`` when the worker does not hold the model the order speaks of."""


class ActorHandle(Protocol):
    """What this transport needs of an actor."""

    def call(self, method: str, *args: Any) -> Future[Any]:
        """Ask for ``method(*args)``; calls are done one by one in order."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class Actors(Protocol):
    """What this transport needs of an engine."""

    def actor(self, cls: Callable[..., Any], *args: Any, restarts: int = 0) -> ActorHandle:
        """Start ``cls(*args)`` in a process of its own."""
        ...


class OpensLearner(Protocol):
    """Settings from which each worker builds its own learner."""

    def open(self) -> Learner:
        """Load what it takes."""
        ...


class ClientWorker:
    """The far end: does tasks of any client, one at a time.

    Args:
        algorithm: What a client does with a task.
        settings: From which the learner is built, at the first task.
    """

    def __init__(self, algorithm: Algorithm, settings: OpensLearner) -> None:
        self._algorithm = algorithm
        self._settings = settings
        self._learner: Learner | None = None
        self._held: tuple[str, Payload] | None = None

    def hold(self, model: bytes) -> None:
        """Keep the model of a phase, in place of the one before."""
        payload = Payload.from_bytes(model)
        self._held = (payload.digest(), payload)

    def work(self, order: bytes, digest: str, memory: bytes | None) -> Answer:
        """Do a task with the model of that digest."""
        if self._held is None or self._held[0] != digest:
            return None
        self._learner = self._learner or self._settings.open()
        task = Task.of_order(order, self._held[1])
        kept = None if memory is None else Payload.from_bytes(memory)
        reply = self._algorithm.client(task, self._learner, memory=kept)
        return reply.payload.to_bytes(), None if reply.memory is None else reply.memory.to_bytes()


@dataclass
class _Worker:
    handle: ActorHandle
    told: str = ""  # digest of the model it was last given
    running: dict[Future[Any], Task] = field(default_factory=dict[Future[Any], Task])


class EngineTransport:
    """Spreads tasks over actors; replies come as they finish. A context manager, or call `close`.

    What clients remember between rounds is kept here and sent along with their next task, so any worker can
    do any client's task, and a worker that died is replaced without loss.

    Args:
        engine: Hosts the workers.
        algorithm: What a client does with a task; must survive pickling, as all frozen settings do.
        settings: From which each worker builds its learner.
        workers: How many.
        restarts: How often each worker may die and be replaced; the tasks it held are done again.
    """

    def __init__(
        self,
        engine: Actors,
        algorithm: Algorithm,
        settings: OpensLearner,
        *,
        workers: int = 2,
        restarts: int = 1,
    ) -> None:
        self._workers = [
            _Worker(engine.actor(ClientWorker, algorithm, settings, restarts=restarts)) for _ in range(workers)
        ]
        self._retries = workers * (restarts + 1)
        self._memory: dict[str, bytes | None] = {}

    def gather(self, tasks: Sequence[Task]) -> Iterator[Reply]:
        """Have the tasks done; replies in the order they come.

        Raises:
            PlaitError: The one a client raised.
            EngineError: Workers died more often than they may.
        """
        for worker in self._workers:  # a phase that was given up leaves calls whose answers nobody waits for
            worker.running.clear()
        waiting = deque(tasks)
        digests = {id(task.payload): task.payload.digest() for task in tasks}
        died = 0
        while waiting or any(worker.running for worker in self._workers):
            self._hand_out(waiting, digests)
            futures = {future: worker for worker in self._workers for future in worker.running}
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                worker = futures[future]
                task = worker.running.pop(future)
                try:
                    answer: Answer = future.result()
                except EngineError as error:
                    died += 1
                    if error.code != _ACTOR_DIED or died > self._retries:
                        raise
                    answer = None
                if answer is None:  # a new process in the place of a dead one: it has no model yet
                    worker.told = ""
                    waiting.appendleft(task)
                    continue
                payload, self._memory[task.client] = answer
                kept = self._memory[task.client]
                memory = None if kept is None else Payload.from_bytes(kept)
                yield Reply(task, Payload.from_bytes(payload), memory)

    def remember(self, client: str, memory: Payload | None) -> None:
        """Set what a client finds in its next task."""
        self._memory[client] = None if memory is None else memory.to_bytes()

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.handle.stop()

    def __enter__(self) -> EngineTransport:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _hand_out(self, waiting: deque[Task], digests: dict[int, str]) -> None:
        """Give every worker as much as it should have; the least busy first."""
        while waiting:
            worker = min(self._workers, key=lambda w: len(w.running))
            if len(worker.running) >= _AT_ONCE:
                return
            task = waiting.popleft()
            digest = digests[id(task.payload)]
            if worker.told != digest:
                worker.handle.call("hold", task.payload.to_bytes())
                worker.told = digest
            future = worker.handle.call("work", task.order(), digest, self._memory.get(task.client))
            worker.running[future] = task
