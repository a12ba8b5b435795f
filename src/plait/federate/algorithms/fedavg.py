"""Federated averaging, with FedProx's proximal term as one setting, over any aggregation rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from plait.core.component import Component
from plait.core.seeds import Seeds
from plait.errors import ModelError, StrandError
from plait.federate.aggregators.base import Aggregator, why_refused
from plait.federate.aggregators.coordinate import CoordinateMedian, TrimmedMean
from plait.federate.aggregators.mean import Mean, capped_weights
from plait.federate.algorithms.base import PhaseNumbers, Reply, ServerState, Task
from plait.federate.learner import Learner
from plait.federate.payload import Payload
from plait.federate.selection import select_clients

_PHASE = "train"


class FedAvg(Component):
    """Each drawn client trains from the global model on its own data; the server aggregates the changes.

    Clients restart their optimiser every round and send the change ``θᵢ − θ``, so robust rules, privacy and
    digests all see one vector per client.

    Source: McMahan et al. 2017 (1602.05629), algorithm 1; the proximal term is Li et al. 2020 (1812.06127),
        equation 2.

    Example:
        >>> FedAvg(steps=4, aggregator={"rule": "trimmed-mean", "trim": 2}).aggregator.needs()
        5
    """

    steps: int = Field(default=1, ge=1)
    """Optimiser steps of each client per round."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of all clients drawn each round."""
    at_least: int = Field(default=1, ge=1)
    """Fewest clients drawn each round, and fewest good replies a round needs."""
    max_weight: float = Field(default=3.0, ge=1)
    """No client counts more than this many equal shares, whatever number of examples it claims; 1 counts all
    the same."""
    proximal: float = Field(default=0.0, ge=0)
    """μ of FedProx: pulls each client's training towards the global model; 0 is plain averaging."""
    aggregator: (
        Annotated[Mean | CoordinateMedian | TrimmedMean, Field(discriminator="rule")]
        | SkipJsonSchema[InstanceOf[Aggregator]]
    ) = Mean()
    """How the clients' changes become one."""

    def init(self, model: Payload, *, clients: Mapping[str, int], seeds: Seeds) -> ServerState:
        """Start from a model, with clients in the order of their names."""
        return ServerState(model=model, clients=dict(sorted(clients.items())), seeds=seeds, phase=_PHASE)

    def plan(self, state: ServerState) -> list[Task]:
        """Send the global model to the drawn clients, weighed by their capped claims."""
        needed = max(self.at_least, self.aggregator.needs())
        drawn = select_clients(
            state.clients,
            fraction=self.fraction,
            at_least=needed,
            round_number=state.round,
            seeds=state.seeds,
        )
        weights = capped_weights([state.clients[name] for name in drawn], max_weight=self.max_weight)
        state.fold = self.aggregator.open(size=state.model.vector().size)
        config = {"steps": self.steps, "first_step": state.round * self.steps, "proximal": self.proximal}
        return [
            Task(
                client=name,
                round=state.round,
                phase=_PHASE,
                seed=state.seeds.child("train", state.round, name).integer(),
                payload=state.model,
                config=config,
                weight=weight,
                place=place,
            )
            for place, (name, weight) in enumerate(zip(drawn, weights, strict=True))
        ]

    def client(self, task: Task, learner: Learner, *, memory: Payload | None) -> Reply:  # noqa: ARG002  (keeps none)
        """Train from the global model, and send the change."""
        start = task.payload.vector()
        try:
            trained, losses = learner.train(
                start,
                client=task.client,
                first_step=task.config["first_step"],
                steps=task.config["steps"],
                proximal=task.config["proximal"],
                seed=task.seed,
            )
        except ModelError as error:
            raise ModelError(error.message, code=error.code, where=f"round {task.round}", hint=error.hint) from error
        change = Payload(task.payload.manifest, _bytes(trained - start), {"losses": [float(x) for x in losses]})
        return Reply(task, change)

    def absorb(self, state: ServerState, reply: Reply) -> ServerState:
        """Take a reply, or refuse it: wrong names or shapes, NaN, infinity."""
        if state.fold is None:
            raise StrandError("a reply came before the round was planned", code="federate.order")
        task = reply.task
        reason = _why_refused(reply.payload, expected=state.model)
        row = None if reason else reply.payload.vector()
        state.fold.add(row, place=task.place, weight=task.weight)
        if reason:
            state.refused[task.client] = reason
        else:
            state.losses[task.client] = float(np.mean(reply.payload.meta["losses"]))
        return state

    def finish(self, state: ServerState) -> tuple[ServerState, PhaseNumbers]:
        """Add the aggregate to the global model.

        Raises:
            StrandError: Fewer good replies than the rule or ``at_least`` needs.
        """
        needed = max(self.at_least, self.aggregator.needs())
        if state.fold is None or len(state.losses) < needed:
            refused = "; ".join(f"{name} {why}" for name, why in sorted(state.refused.items()))
            raise StrandError(
                f"{len(state.losses)} good replies, {needed} needed ({refused or 'none refused'})",
                code="federate.too-few-clients",
                where=f"round {state.round}",
            )
        change = state.fold.result()
        model = Payload(state.model.manifest, _bytes(state.model.vector() + change), state.model.meta)
        numbers = PhaseNumbers(
            losses=dict(sorted(state.losses.items())),
            refused=dict(sorted(state.refused.items())),
            change_norm=float(np.linalg.norm(change.astype(np.float64))),
        )
        return (
            ServerState(model=model, clients=state.clients, seeds=state.seeds, round=state.round + 1, phase=_PHASE),
            numbers,
        )


def _bytes(vector: np.ndarray) -> np.ndarray:
    return Payload.of_vector(vector).buffer


def _why_refused(payload: Payload, *, expected: Payload) -> str | None:
    if payload.manifest != expected.manifest:
        return f"sent {len(payload.manifest)} arrays that are not the {len(expected.manifest)} asked for"
    losses = payload.meta.get("losses")
    if not isinstance(losses, list) or not losses:
        return "sent no losses"
    if not all(isinstance(loss, float) and math.isfinite(loss) for loss in losses):
        return "sent losses that are not numbers"
    return why_refused(payload.vector(), size=expected.vector().size)
