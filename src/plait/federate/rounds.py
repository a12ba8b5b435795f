"""The loop of federated learning, on one screen. Everything else in this package is something it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from plait.core.seeds import Seeds
from plait.federate.algorithms.base import Algorithm, PhaseNumbers, Reply, ServerState, Task
from plait.federate.payload import Payload


class Transport(Protocol):
    """Carries tasks to clients and brings their replies back, in any order, each exactly once."""

    def gather(self, tasks: Sequence[Task]) -> Iterable[Reply]:
        """Have every task done. A failing client raises; what it was doing is in the error."""
        ...

    def remember(self, client: str, memory: Payload | None) -> None:
        """Set what a client finds in its next task, when it is known from elsewhere (a checkpoint)."""
        ...


@dataclass(frozen=True)
class PhaseRecord:
    """One finished phase, for curves, tables and audits.

    Args:
        round: From 0.
        phase: Its name.
        numbers: Losses, refusals, and the size of the change.
        sent: Client → bytes sent to it.
        received: Client → bytes it sent.
        digest: SHA-256 of the global model after the phase.
    """

    round: int
    phase: str
    numbers: PhaseNumbers
    sent: Mapping[str, int]
    received: Mapping[str, int]
    digest: str


def run_rounds(
    algorithm: Algorithm,
    transport: Transport,
    *,
    start: Payload,
    clients: Mapping[str, int],
    rounds: int,
    seeds: Seeds,
    on_reply: Callable[[Reply], None] | None = None,
    on_phase: Callable[[PhaseRecord, Payload], None] | None = None,
) -> Payload:
    """Run an algorithm to the end: plan, gather and absorb, finish, again.

    Args:
        algorithm: What clients and server do.
        transport: How messages travel. The result does not depend on it.
        start: The model all start from.
        clients: Name → number of training examples it claims.
        rounds: How many.
        seeds: Root of all random streams.
        on_reply: Told of each reply as it comes.
        on_phase: Told of each finished phase, with the global model after it.

    Returns:
        The global model after the last round.
    """
    state: ServerState = algorithm.init(start, clients=clients, seeds=seeds)
    while state.round < rounds:
        tasks = algorithm.plan(state)
        number, phase = state.round, state.phase
        received: dict[str, int] = {}
        for reply in transport.gather(tasks):
            state = algorithm.absorb(state, reply)
            received[reply.task.client] = reply.wire_bytes
            if on_reply is not None:
                on_reply(reply)
        state, numbers = algorithm.finish(state)
        sent = {task.client: task.wire_bytes for task in tasks}
        digest = state.model.digest()
        if on_phase is not None:
            on_phase(PhaseRecord(number, phase, numbers, sent, received, digest), state.model)
    return state.model
