"""Clients in this process, one after another: straight calls, nothing copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.federate.algorithms.base import Algorithm, Reply, Task
from plait.federate.learner import Learner
from plait.federate.payload import Payload


class InProcess:
    """Does every task here.

    Args:
        algorithm: What a client does with a task.
        learner: The model and the data of all clients.
    """

    def __init__(self, algorithm: Algorithm, learner: Learner) -> None:
        self._algorithm = algorithm
        self._learner = learner
        self._memory: dict[str, Payload | None] = {}

    def gather(self, tasks: Sequence[Task]) -> Iterator[Reply]:
        """Do the tasks in order."""
        for task in tasks:
            reply = self._algorithm.client(task, self._learner, memory=self._memory.get(task.client))
            self._memory[task.client] = reply.memory
            yield reply

    def remember(self, client: str, memory: Payload | None) -> None:
        """Set what a client finds in its next task."""
        self._memory[client] = memory
