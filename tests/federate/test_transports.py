"""One algorithm, several transports, one digest; and what is left after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from plait.core.seeds import Seeds
from plait.engines import LocalEngine
from plait.errors import EngineError, ModelError
from plait.federate.algorithms.base import Reply, Task
from plait.federate.algorithms.fedavg import FedAvg
from plait.federate.learners.numpy_linear import NumpyLinear
from plait.federate.payload import Payload
from plait.federate.rounds import run_rounds
from plait.federate.transports.checkpointed import Checkpointed
from plait.federate.transports.engine import EngineTransport
from plait.federate.transports.inprocess import InProcess

SETTINGS = {
    "mean": FedAvg(steps=3),
    "drawn, proximal": FedAvg(steps=2, fraction=0.6, proximal=0.1),
    "median": FedAvg(steps=2, aggregator={"rule": "median"}),
}


def digests(algorithm, learner, transport, *, rounds=3):
    found = []
    run_rounds(
        algorithm,
        transport,
        start=Payload.of_vector(learner.start(), layout=learner.layout()),
        clients=learner.examples(),
        rounds=rounds,
        seeds=Seeds(7),
        on_phase=lambda record, model: found.append((record.digest, record.sent, record.received)),
    )
    return found


def test_processes_give_the_digest_of_straight_calls(linear: NumpyLinear):
    learner = linear.open()
    with LocalEngine(workers=2) as engine:
        for name, algorithm in SETTINGS.items():
            expected = digests(algorithm, learner, InProcess(algorithm, learner))
            with EngineTransport(engine, algorithm, linear, workers=2) as transport:
                assert digests(algorithm, learner, transport) == expected, name


@pytest.mark.ray
def test_ray_gives_the_digest_of_straight_calls(linear: NumpyLinear):
    from plait.engines import RayEngine

    learner = linear.open()
    with RayEngine(workers=2) as engine:
        for name, algorithm in SETTINGS.items():
            expected = digests(algorithm, learner, InProcess(algorithm, learner))
            with EngineTransport(engine, algorithm, linear, workers=2) as transport:
                assert digests(algorithm, learner, transport) == expected, name


class Remembers(FedAvg):
    """Each client counts its own rounds, and moves by that many ones: the memory shows in the model."""

    def client(self, task: Task, learner, *, memory: Payload | None) -> Reply:
        seen = 1 if memory is None else int(memory["seen"][0]) + 1
        vector = task.payload.vector()
        change = Payload.of_vector(
            np.full_like(vector, seen),
            layout=[(s.name, s.shape) for s in task.payload.manifest],
            meta={"losses": [float(seen)]},
        )
        return Reply(task, change, memory=Payload.pack({"seen": np.array([seen])}))


def test_clients_keep_their_memory_on_every_transport_and_over_a_restart(linear: NumpyLinear, tmp_path: Path):
    learner, algorithm = linear.open(), Remembers()
    expected = digests(algorithm, learner, InProcess(algorithm, learner))
    with LocalEngine(workers=2) as engine, EngineTransport(engine, algorithm, linear) as transport:
        assert digests(algorithm, learner, transport) == expected
    digests(algorithm, learner, Checkpointed(InProcess(algorithm, learner), tmp_path), rounds=2)
    resumed = Checkpointed(InProcess(algorithm, learner), tmp_path)
    assert digests(algorithm, learner, resumed) == expected


class DiesOnce(FedAvg):
    """Ends its process the first time anyone does a task of round 1."""

    flag: Path

    def client(self, task: Task, learner, *, memory: Payload | None) -> Reply:
        if task.round == 1 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().client(task, learner, memory=memory)


class AlwaysDies(FedAvg):
    def client(self, task: Task, learner, *, memory: Payload | None) -> Reply:
        os._exit(3)


def test_a_worker_that_dies_is_replaced_and_leaves_no_trace(linear: NumpyLinear, tmp_path: Path):
    learner = linear.open()
    algorithm = DiesOnce(steps=3, flag=tmp_path / "died")
    with LocalEngine(workers=2) as engine, EngineTransport(engine, algorithm, linear) as transport:
        survived = digests(algorithm, learner, transport)
    assert algorithm.flag.exists()
    plain = FedAvg(steps=3)
    assert survived == digests(plain, learner, InProcess(plain, learner))


def test_workers_that_keep_dying_stop_the_run(linear: NumpyLinear):
    learner, algorithm = linear.open(), AlwaysDies()
    with (
        LocalEngine(workers=1) as engine,
        EngineTransport(engine, algorithm, linear, workers=1) as transport,
        pytest.raises(EngineError),
    ):
        digests(algorithm, learner, transport)


def test_an_error_of_a_client_arrives_as_it_was(linear: NumpyLinear):
    wild = linear.model_copy(update={"learning_rate": 1e300, "task": "regression"})
    learner, algorithm = wild.open(), FedAvg(steps=5)
    with (
        LocalEngine(workers=1) as engine,
        EngineTransport(engine, algorithm, wild, workers=1) as transport,
        pytest.raises(ModelError, match="the loss of client"),
    ):
        digests(algorithm, learner, transport)


class Counts(InProcess):
    asked = 0

    def gather(self, tasks):
        for reply in super().gather(tasks):
            self.asked += 1
            yield reply


def test_what_is_on_disk_is_not_asked_again(linear: NumpyLinear, tmp_path: Path):
    learner, algorithm = linear.open(), FedAvg(steps=3)
    expected = digests(algorithm, learner, InProcess(algorithm, learner))
    first = Counts(algorithm, learner)
    assert digests(algorithm, learner, Checkpointed(first, tmp_path)) == expected
    second = Counts(algorithm, learner)
    assert digests(algorithm, learner, Checkpointed(second, tmp_path)) == expected
    assert (first.asked, second.asked) == (15, 0)
    sorted(tmp_path.glob("0001-*"))[2].unlink()
    third = Counts(algorithm, learner)
    assert digests(algorithm, learner, Checkpointed(third, tmp_path)) == expected
    assert third.asked == 1


def test_another_question_is_not_answered_from_disk(linear: NumpyLinear, tmp_path: Path):
    learner = linear.open()
    three, four = FedAvg(steps=3), FedAvg(steps=4)
    digests(three, learner, Checkpointed(InProcess(three, learner), tmp_path))
    kept = digests(four, learner, Checkpointed(InProcess(four, learner), tmp_path))
    assert kept == digests(four, learner, InProcess(four, learner))


SCRIPT = """
    import sys, time
    from pathlib import Path
    from plait.core.seeds import Seeds
    from plait.federate.algorithms.fedavg import FedAvg
    from plait.federate.learners.numpy_linear import NumpyLinear
    from plait.federate.payload import Payload
    from plait.federate.rounds import run_rounds
    from plait.federate.transports.checkpointed import Checkpointed
    from plait.federate.transports.inprocess import InProcess

    class Slow(InProcess):
        def gather(self, tasks):
            for reply in super().gather(tasks):
                time.sleep(float(sys.argv[3]))
                yield reply

    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    learner = NumpyLinear(data=data, classes=3, learning_rate=0.5, batch_size=4, seed=11).open()
    algorithm = FedAvg(steps=3)
    model = run_rounds(
        algorithm, Checkpointed(Slow(algorithm, learner), folder / "kept"),
        start=Payload.of_vector(learner.start(), layout=learner.layout()),
        clients=learner.examples(), rounds=4, seeds=Seeds(7),
    )
    (folder / "model.payload").write_bytes(model.to_bytes())
"""


def test_kill_minus_nine_then_again_gives_the_same_bytes(linear: NumpyLinear, tmp_path: Path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))

    def command(folder: Path, pause: str) -> list[str]:
        folder.mkdir(exist_ok=True)
        return [sys.executable, str(script), str(linear.data), str(folder), pause]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, "0"), check=True)
    process = subprocess.Popen(command(killed, "0.1"))
    try:
        deadline = time.monotonic() + 60
        while len(list((killed / "kept").glob("*.reply"))) < 7:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert not (killed / "model.payload").exists()
    done = len(list((killed / "kept").glob("*.reply")))
    assert 7 <= done < 20
    subprocess.run(command(killed, "0"), check=True)
    assert (killed / "model.payload").read_bytes() == (whole / "model.payload").read_bytes()
    assert len(list((killed / "kept").glob("*.reply"))) == 20


def test_a_phase_that_was_given_up_does_not_answer_the_next(linear: NumpyLinear):
    learner, algorithm = linear.open(), FedAvg(steps=3)
    expected = digests(algorithm, learner, InProcess(algorithm, learner))
    with LocalEngine(workers=1) as engine, EngineTransport(engine, algorithm, linear, workers=1) as transport:
        start = Payload.of_vector(learner.start() + 1, layout=learner.layout())
        tasks = algorithm.plan(algorithm.init(start, clients=learner.examples(), seeds=Seeds(1)))
        assert next(transport.gather(tasks)).task in tasks
        assert digests(algorithm, learner, transport) == expected
