"""An algorithm: five functions that say everything about a federated method except how messages travel.

    init    the server's state before the first round
    plan    the tasks of the current phase: whom to ask, what to send
    client  what one client does with its task; runs anywhere
    absorb  take one reply, in whatever order replies come
    finish  end the phase: the new state and its numbers

A round may have several phases (score, then train; share keys, then send masked sums): `finish` names the
next one in the state, and the loop in `plait.federate.rounds` runs until enough rounds are done. Everything
random is keyed by (seed, round, phase, client), never by the order of arrival.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import msgpack

from plait.core.seeds import Seeds
from plait.federate.aggregators.base import Fold
from plait.federate.learner import Learner
from plait.federate.payload import Payload


@dataclass(frozen=True)
class Task:
    """What one client is asked to do.

    Args:
        client: Who.
        round: From 0.
        phase: What kind of work, e.g. ``train``.
        seed: For anything random in the work.
        payload: What is sent; all tasks of a phase may share one.
        config: Plain numbers and texts the client needs.
        weight: The server's weight for the reply; stays with the server.
        place: The task's place in the canonical order of its phase; stays with the server.
    """

    client: str
    round: int
    phase: str
    seed: int
    payload: Payload
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weight: float = 1.0
    place: int = 0

    def order(self) -> bytes:
        """What is sent beside the payload: msgpack bytes."""
        fields = [self.client, self.round, self.phase, self.seed, dict(sorted(self.config.items()))]
        return cast("bytes", msgpack.packb(fields))

    @classmethod
    def of_order(cls, order: bytes, payload: Payload) -> Task:
        """The task as a client sees it."""
        client, round_number, phase, seed, config = msgpack.unpackb(order)
        return cls(client, round_number, phase, seed, payload, config)

    def digest(self) -> str:
        """SHA-256 of all a client can see; equal tasks have equal replies."""
        return hashlib.sha256(self.order() + self.payload.digest().encode()).hexdigest()

    @property
    def wire_bytes(self) -> int:
        """Bytes sent to the client."""
        return len(self.order()) + self.payload.wire_bytes


@dataclass(frozen=True)
class Reply:
    """What a client sends back.

    Args:
        task: The task it answers.
        payload: What is sent.
        memory: What the client wants to find again in its next task; never sent to the server.
    """

    task: Task
    payload: Payload
    memory: Payload | None = None

    @property
    def wire_bytes(self) -> int:
        """Bytes sent to the server."""
        return self.payload.wire_bytes


@dataclass
class ServerState:
    """All the server knows between phases, and the fold of the phase that is under way.

    Args:
        model: The global model, in the declared subspace.
        clients: Name → number of examples it claims, in canonical order.
        seeds: Root of the run's random streams.
        round: The round under way, from 0; equals the number of finished rounds between them.
        phase: The phase under way.
        fold: The rows of the phase so far.
        losses: Client → mean loss over its steps of this phase.
        refused: Client → why its reply was refused in this phase.
    """

    model: Payload
    clients: Mapping[str, int]
    seeds: Seeds
    round: int = 0
    phase: str = "train"
    fold: Fold | None = None
    losses: dict[str, float] = field(default_factory=dict[str, float])
    refused: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class PhaseNumbers:
    """What a finished phase has to say.

    Args:
        losses: Client → mean training loss.
        refused: Client → why its reply was refused.
        change_norm: Euclidean norm of the change to the global model.
    """

    losses: Mapping[str, float]
    refused: Mapping[str, str]
    change_norm: float


class Algorithm(Protocol):
    """A federated method. Implementations are frozen settings; all that changes is in the state."""

    def init(self, model: Payload, *, clients: Mapping[str, int], seeds: Seeds) -> ServerState:
        """The state before the first round."""
        ...

    def plan(self, state: ServerState) -> Sequence[Task]:
        """The tasks of the current phase, in canonical order; opens the phase's fold."""
        ...

    def client(self, task: Task, learner: Learner, *, memory: Payload | None) -> Reply:
        """Do one task: a function of its arguments and the client's data alone."""
        ...

    def absorb(self, state: ServerState, reply: Reply) -> ServerState:
        """Take one reply; the state given is spent. The result must not depend on the order of replies."""
        ...

    def finish(self, state: ServerState) -> tuple[ServerState, PhaseNumbers]:
        """End the phase: the state of the next phase or round, and the numbers of this one."""
        ...
