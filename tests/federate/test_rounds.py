"""The loop with FedAvg: by hand, against centralised training, and against clients that lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plait.core.seeds import Seeds
from plait.errors import ModelError, StrandError
from plait.federate.algorithms.base import Reply
from plait.federate.algorithms.fedavg import FedAvg
from plait.federate.batches import batch_of
from plait.federate.learners.numpy_linear import NumpyLinear
from plait.federate.payload import Payload
from plait.federate.rounds import run_rounds
from plait.federate.selection import select_clients
from plait.federate.transports.inprocess import InProcess


def federate(algorithm, learner, *, rounds=3, seed=7, transport=None, clients=None, **watch):
    start = Payload.of_vector(learner.start(), layout=learner.layout())
    return run_rounds(
        algorithm,
        transport or InProcess(algorithm, learner),
        start=start,
        clients=clients or learner.examples(),
        rounds=rounds,
        seeds=Seeds(seed),
        **watch,
    )


class Moves:
    """A learner whose clients each move by a fixed vector: averages can be done in one's head."""

    def __init__(self, moves, examples):
        self.moves = {k: np.array(v, np.float32) for k, v in moves.items()}
        self._examples = examples

    def start(self):
        return np.zeros(2, np.float32)

    def layout(self):
        return [("w", (2,))]

    def examples(self):
        return self._examples

    def train(self, vector, *, client, first_step, steps, proximal, seed):
        return vector + self.moves[client] * np.float32(steps), [1.0] * steps

    def evaluate(self, vector, *, client):
        return 0.0


def test_fedavg_by_hand():
    learner = Moves({"a": [4, 0], "b": [0, 8]}, {"a": 3, "b": 1})
    model = federate(FedAvg(steps=2), learner, rounds=1)
    assert model.vector().tolist() == [6, 4]  # 3/4 · 2·4 and 1/4 · 2·8
    assert federate(FedAvg(steps=2), learner, rounds=2).vector().tolist() == [12, 8]


def test_a_claim_of_a_billion_examples_is_capped():
    learner = Moves(
        {"a": [1, 0], "b": [1, 0], "c": [1, 0], "liar": [0, 100]}, {"a": 10, "b": 10, "c": 10, "liar": 10**9}
    )
    capped = federate(FedAvg(max_weight=1), learner, rounds=1).vector()
    assert capped.tolist() == [0.75, 25]
    by_two = federate(FedAvg(max_weight=2), learner, rounds=1).vector()
    assert by_two.tolist() == [0.5, 50]


def test_one_full_batch_step_of_everyone_is_centralised_gradient_descent(linear: NumpyLinear):
    """τ = 1, full batches, weights by rows: the same model as one table with all rows."""
    settings = linear.model_copy(update={"batch_size": 0})
    learner = settings.open()
    model = federate(FedAvg(steps=1, max_weight=5), learner, rounds=20).vector()

    with np.load(linear.data) as arrays:
        x = np.concatenate([arrays[f"client-{i}/x"] for i in range(5)])
        y = np.concatenate([arrays[f"client-{i}/y"] for i in range(5)])
    weight, bias = np.zeros((4, 3)), np.zeros(3)
    for _ in range(20):
        p = np.exp(x @ weight + bias)
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        weight -= 0.5 * x.T @ p / len(y)
        bias -= 0.5 * p.mean(axis=0)
    np.testing.assert_allclose(model, np.concatenate([weight.ravel(), bias]), atol=1e-6)


def test_federated_beats_every_client_alone(linear: NumpyLinear):
    learner = linear.open()
    clients = list(learner.examples())

    def heldout(vector):
        return np.mean([learner.evaluate(vector, client=c) for c in clients])

    together = heldout(federate(FedAvg(steps=5), learner, rounds=20).vector())
    alone = [
        heldout(federate(FedAvg(steps=5), learner, rounds=20, clients={c: learner.examples()[c]}).vector())
        for c in clients
    ]
    assert together < min(alone)


def test_the_model_does_not_depend_on_the_order_clients_register_or_answer(linear: NumpyLinear):
    learner = linear.open()
    algorithm = FedAvg(steps=3)

    class Backwards:
        def __init__(self):
            self.inner = InProcess(algorithm, learner)

        def gather(self, tasks):
            return reversed(list(self.inner.gather(tasks)))

        def remember(self, client, memory):
            self.inner.remember(client, memory)

    shuffled = dict(reversed(learner.examples().items()))
    first = federate(algorithm, learner).digest()
    assert federate(algorithm, learner, transport=Backwards(), clients=shuffled).digest() == first
    assert federate(algorithm, learner).digest() == first


def test_the_seed_changes_who_is_drawn_and_so_the_model(linear: NumpyLinear):
    learner = linear.open()
    algorithm = FedAvg(steps=2, fraction=0.4)
    digests = {federate(algorithm, learner, seed=s).digest() for s in range(4)}
    assert len(digests) == 4


def test_proximal_term_pulls_clients_to_the_global_model(linear: NumpyLinear):
    learner = linear.open()
    how = {"client": "client-0", "first_step": 0, "steps": 20, "seed": 0}
    start = np.ones(15, np.float32)
    free, _ = learner.train(start, proximal=0, **how)
    pulled, _ = learner.train(start, proximal=1.0, **how)
    assert np.linalg.norm(pulled - start) < 0.6 * np.linalg.norm(free - start)
    # One step by hand: from θ itself the pull is zero.
    one = learner.train(start, proximal=1.0, **(how | {"steps": 1}))[0]
    assert np.array_equal(one, learner.train(start, proximal=0, **(how | {"steps": 1}))[0])


class Tampered:
    """A transport between the server and clients of which some lie."""

    def __init__(self, inner, forge):
        self.inner = inner
        self.forge = forge

    def gather(self, tasks):
        for reply in self.inner.gather(tasks):
            forged = self.forge.get(reply.task.client)
            yield reply if forged is None else replace(reply, payload=forged(reply))

    def remember(self, client, memory):
        self.inner.remember(client, memory)


def _all(value):
    return lambda reply: Payload.of_vector(
        np.full(reply.payload.vector().size, value, np.float32),
        layout=[(s.name, s.shape) for s in reply.payload.manifest],
        meta=reply.payload.meta,
    )


def _times(factor):
    return lambda reply: Payload.of_vector(
        reply.payload.vector() * np.float32(factor),
        layout=[(s.name, s.shape) for s in reply.payload.manifest],
        meta=reply.payload.meta,
    )


def test_replies_with_nan_or_another_shape_are_refused_counted_and_leave_no_trace(linear: NumpyLinear):
    learner = linear.open()
    algorithm = FedAvg(steps=2)
    records = []
    forge = {
        "client-0": _all(np.nan),
        "client-1": _all(np.inf),
        "client-2": lambda r: Payload.of_vector(np.zeros(3, np.float32), meta=r.payload.meta),
        "client-3": lambda r: Payload(r.payload.manifest, r.payload.buffer, {"losses": [float("nan")]}),
    }
    model = federate(
        algorithm,
        learner,
        rounds=1,
        transport=Tampered(InProcess(algorithm, learner), forge),
        on_phase=lambda record, model: records.append(record),
    )
    refused = records[0].numbers.refused
    assert refused == {
        "client-0": "15 of 15 numbers are NaN or infinite",
        "client-1": "15 of 15 numbers are NaN or infinite",
        "client-2": "sent 1 arrays that are not the 2 asked for",
        "client-3": "sent losses that are not numbers",
    }
    alone = federate(algorithm, learner, rounds=1, clients={"client-4": 32})
    assert np.array_equal(model.vector(), alone.vector())


@pytest.mark.parametrize("aggregator", [{"rule": "median"}, {"rule": "trimmed-mean", "trim": 1}])
def test_robust_rules_withstand_a_liar_that_ruins_the_mean(linear: NumpyLinear, aggregator):
    learner = linear.open()

    def loss(**settings):
        algorithm = FedAvg(steps=5, **settings)
        lying = Tampered(InProcess(algorithm, learner), {"client-4": _times(-1e4)})
        model = federate(algorithm, learner, rounds=10, transport=lying).vector()
        return np.mean([learner.evaluate(model, client=f"client-{i}") for i in range(4)])

    assert loss(aggregator=aggregator) < 1.0
    assert loss() > 100


def test_too_few_good_replies_stop_the_run_and_say_why(linear: NumpyLinear):
    learner = linear.open()
    algorithm = FedAvg(aggregator={"rule": "trimmed-mean", "trim": 2})
    lying = Tampered(InProcess(algorithm, learner), {"client-4": _all(np.nan)})
    with pytest.raises(StrandError, match=r"round 0: 4 good replies, 5 needed \(client-4 15 of 15 numbers are NaN"):
        federate(algorithm, learner, transport=lying)
    with pytest.raises(StrandError, match="4 clients, 5 needed"):
        federate(algorithm, learner, clients={f"client-{i}": 5 for i in range(4)})


def test_bytes_are_those_of_the_messages(linear: NumpyLinear):
    learner = linear.open()
    algorithm = FedAvg(steps=2)
    wire = {}

    class Weighed(InProcess):
        def gather(self, tasks):
            for task in tasks:
                wire[task.client] = [len(task.payload.to_bytes()) + len(task.order())]
            for reply in super().gather(tasks):
                wire[reply.task.client].append(len(reply.payload.to_bytes()))
                yield reply

    records = []
    federate(
        algorithm,
        learner,
        rounds=1,
        transport=Weighed(algorithm, learner),
        on_phase=lambda record, model: records.append((record, model)),
    )
    record, model = records[0]
    assert {c: [record.sent[c], record.received[c]] for c in wire} == wire
    assert all(n[0] > 15 * 4 and n[1] > 15 * 4 for n in wire.values())
    assert record.digest == model.digest()


def test_nan_loss_names_client_step_and_rows(linear: NumpyLinear):
    learner = linear.open()
    with pytest.raises(ModelError, match=r"client client-2 is nan at its step 6, rows \["):
        learner.train(np.full(15, np.inf, np.float32), client="client-2", first_step=6, steps=1, proximal=0, seed=0)


def test_selection_is_uniform_and_changes_by_one_when_a_client_leaves():
    pool = [f"c{i}" for i in range(10)]
    how = {"fraction": 0.3, "at_least": 1, "seeds": Seeds(1)}
    counts = dict.fromkeys(pool, 0)
    for r in range(2000):
        drawn = select_clients(pool, round_number=r, **how)
        assert len(drawn) == 3
        for name in drawn:
            counts[name] += 1
        left = select_clients([p for p in pool if p != drawn[0]], round_number=r, **how)
        assert set(drawn[1:]) <= set(left)
    # Binomial(2000, 0.3): mean 600, standard deviation 20.5.
    assert all(abs(n - 600) < 100 for n in counts.values())


def test_selection_rounds_up_without_float_noise():
    pool = [f"c{i}" for i in range(30)]
    assert len(select_clients(pool, fraction=0.1, at_least=1, round_number=0, seeds=Seeds(0))) == 3
    assert len(select_clients(pool, fraction=0.01, at_least=5, round_number=0, seeds=Seeds(0))) == 5


def test_batches_cover_each_epoch_once_and_follow_the_step_alone():
    seeds = Seeds(5)
    epochs = [np.concatenate([batch_of(9, size=2, step=4 * e + s, seeds=seeds) for s in range(4)]) for e in range(3)]
    for order in epochs:
        assert len(set(order.tolist())) == 8
    assert len({tuple(order) for order in epochs}) == 3


def test_several_phases_a_round_and_memory_that_stays_with_the_client(linear: NumpyLinear):
    """A method of two phases: measure, then move only if the client saw itself improve."""
    learner = linear.open()

    class TwoPhase:
        def __init__(self):
            self.inner = FedAvg(steps=1)

        def init(self, model, *, clients, seeds):
            return replace(self.inner.init(model, clients=clients, seeds=seeds), phase="measure")

        def plan(self, state):
            tasks = self.inner.plan(state)
            return [replace(task, phase=state.phase) for task in tasks]

        def client(self, task, learner, *, memory):
            if task.phase == "measure":
                seen = [] if memory is None else memory["seen"].tolist()
                seen.append(learner.evaluate(task.payload.vector(), client=task.client))
                loss = Payload.of_vector(
                    np.zeros_like(task.payload.vector()),
                    layout=[(s.name, s.shape) for s in task.payload.manifest],
                    meta={"losses": [seen[-1]]},
                )
                return Reply(task, loss, memory=Payload.pack({"seen": np.array(seen)}))
            return replace(self.inner.client(task, learner, memory=None), memory=memory)

        def absorb(self, state, reply):
            return self.inner.absorb(state, reply)

        def finish(self, state):
            if state.phase == "measure":
                return replace(state, phase="train", losses={}, refused={}, fold=None), _numbers(state)
            after, numbers = self.inner.finish(state)
            return replace(after, phase="measure"), numbers

    def _numbers(state):
        from plait.federate.algorithms.base import PhaseNumbers

        return PhaseNumbers(dict(state.losses), {}, 0.0)

    algorithm = TwoPhase()
    memories, phases = {}, []
    model = federate(
        algorithm,
        learner,
        rounds=3,
        on_reply=lambda reply: memories.update({reply.task.client: reply.memory}),
        on_phase=lambda record, _: phases.append((record.round, record.phase)),
    )
    assert phases == [(r, p) for r in range(3) for p in ("measure", "train")]
    assert np.array_equal(model.vector(), federate(FedAvg(steps=1), learner).vector())
    assert all(len(memory["seen"]) == 3 for memory in memories.values())
    assert memories["client-1"]["seen"][2] < memories["client-1"]["seen"][0]
