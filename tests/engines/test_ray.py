"""What only the Ray engine has: quietness, the loopback, clusters joined by address."""

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import engine_work as work
import psutil
import pytest

from plait.engines import RayEngine
from plait.errors import EngineError

pytestmark = pytest.mark.ray

UNGUARDED = os.environ | {"RAY_AUTH_MODE": "disabled"}  # or the cluster asks for a token of this user

OWN = """
import json, sys
sys.path.insert(0, {folder!r})
import engine_work as work
import psutil
from plait.engines import open_engine
from plait.errors import EngineError, UsageError

def triple(x):
    return 3 * x

class Here:
    def __init__(self, value): self.value = value

def wrap(x):
    return Here(x)

if __name__ == "__main__":
    with open_engine("ray", workers=2) as engine:
        found = {{"triple": engine.map(triple, range(3)), "wrap": [h.value for h in engine.map(wrap, range(3))]}}
        found["own class"] = isinstance(engine.map(wrap, [1])[0], Here)
        try:
            engine.map(work.die, [(1, "SIGKILL")])
        except EngineError as error:
            found["error"] = error.code
        found["stream"] = [h.value for h in engine.stream(wrap, range(3))]
        try:
            list(engine.stream(work.die, [(0, ""), (1, "SIGKILL")]))
        except EngineError as error:
            found["error of the stream"] = str(error)
        given_up = engine.stream(work.square, range(2000))
        next(given_up)
        actor = engine.actor(work.Counter)
        actor.call("add", 1).result(60)
        me = psutil.Process()
        family = [me, *me.children(recursive=True)]
        found["listening"] = sorted(
            {{c.laddr.ip for p in family for c in p.net_connections(kind="tcp") if c.status == "LISTEN"}}
        )
        found["pids"] = [p.pid for p in family[1:]]
    try:
        next(given_up)
    except UsageError as error:
        found["given up"] = error.code
    print(json.dumps(found))
"""


def test_our_own_ray_is_quiet_listens_on_the_loopback_and_is_gone_afterwards(tmp_path, gone):
    script = tmp_path / "program.py"
    script.write_text(OWN.format(folder=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::FutureWarning", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)  # nothing but our one line
    assert found["triple"] == [0, 3, 6]
    assert found["wrap"] == [0, 1, 2]
    assert found["own class"]
    assert found["error"] == "engine.worker-died"
    assert found["stream"] == [0, 1, 2]
    assert found["given up"] == "engine.closed"
    assert "the worker running shard 1 died: 3 times" in found["error of the stream"]
    assert found["listening"]
    assert {address.removeprefix("::ffff:") for address in found["listening"]} <= {"127.0.0.1", "::1"}
    assert len(found["pids"]) >= 3
    assert all(gone(pid) for pid in found["pids"])


JOIN = """
import sys
sys.path.insert(0, {folder!r})
import engine_work as work
from plait.engines import open_engine

if __name__ == "__main__":
    with open_engine("ray", address={address!r}) as engine:
        actor = engine.actor(work.Counter, 40)
        print(engine.map(work.square, range(4)), actor.call("add", 2).result(60))
        print(list(engine.stream(work.square, range(4), workers=1)))
"""


def test_join_by_address_and_leave_the_cluster_running(ray_engine, tmp_path):
    import ray

    script = tmp_path / "program.py"
    address = ray.get_runtime_context().gcs_address
    script.write_text(JOIN.format(folder=str(Path(__file__).parent), address=address))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[0, 1, 4, 9] 42\n[0, 1, 4, 9]\n", done.stderr
    assert done.stderr == ""
    assert ray_engine.map(work.square, [5]) == [25]


def test_a_ray_that_the_program_started_itself_is_used_and_left_alone(ray_engine):
    import ray

    with RayEngine() as second:
        assert second.workers == int(ray.cluster_resources()["CPU"])
        assert second.map(work.square, [3]) == [9]
    assert ray.is_initialized()
    assert ray_engine.map(work.square, [5]) == [25]


def test_stopped_actors_and_cancelled_tasks_leave_no_process(ray_engine, tmp_path, gone):
    with pytest.raises(EngineError, match="shard 1 of 2"):
        ray_engine.map(work.long_or_fail, [(str(tmp_path), 0), (str(tmp_path), 1)])
    assert gone(int((tmp_path / "0.pid").read_text()))
    with RayEngine() as second:
        pid = second.actor(work.Counter).call("pid").result(60)
        assert psutil.pid_exists(pid)
    assert gone(pid)


def test_a_shard_of_a_stream_that_lost_its_worker_is_tried_again(ray_engine, tmp_path):
    assert list(ray_engine.stream(work.die_twice, [(str(tmp_path), index) for index in range(3)])) == [0, 1, 2]
    assert (tmp_path / "1.tries").read_text() == "xxx"
    assert (tmp_path / "0.tries").exists()


def test_shards_of_a_stream_given_up_leave_no_process(ray_engine, tmp_path, gone):
    with pytest.raises(EngineError, match="shard 0 failed: ValueError: enough"):
        list(ray_engine.stream(work.fail_or_long, [(str(tmp_path), 0), (str(tmp_path), 1)]))
    assert gone(int((tmp_path / "1.pid").read_text()))
    assert list(ray_engine.stream(work.square, [3])) == [9]


def test_more_shards_than_fit_one_dataset(ray_engine, monkeypatch):
    monkeypatch.setattr("plait.engines.ray_data._WINDOW", 3)
    assert list(ray_engine.stream(work.square, range(20), workers=2)) == [n * n for n in range(20)]


CLIENT = """
from plait.engines import open_engine
from plait.errors import UsageError

if __name__ == "__main__":
    with open_engine("ray", address={address!r}) as engine:
        print(engine.map(abs, [-1, 2]))
        try:
            list(engine.stream(abs, [-1, 2]))
        except UsageError as error:
            print(error.code)
"""


@pytest.fixture
def client_address(gone):
    """A cluster of its own that takes clients, on loopback ports."""
    with closing(socket.create_server(("127.0.0.1", 0))) as one, closing(socket.create_server(("127.0.0.1", 0))) as two:
        gcs, clients = one.getsockname()[1], two.getsockname()[1]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus", "1"]
    command += ["--node-ip-address", "127.0.0.1", "--include-dashboard", "false", "--disable-usage-stats"]
    command += ["--port", str(gcs), "--ray-client-server-port", str(clients)]
    head = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=UNGUARDED)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", clients), timeout=1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield f"ray://127.0.0.1:{clients}"
    family = [head.pid, *(child.pid for child in psutil.Process(head.pid).children(recursive=True))]
    head.terminate()
    head.wait(60)
    assert all(gone(pid) for pid in family)


@pytest.mark.slow
def test_a_client_maps_and_is_told_that_it_cannot_stream(client_address, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(CLIENT.format(address=client_address))
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=UNGUARDED)
    assert done.stdout == "[1, 2]\nengine.client\n", done.stderr


def test_nobody_at_the_address(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(JOIN.format(folder=str(Path(__file__).parent), address="127.0.0.1:1"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("plait.errors.EngineError: 127.0.0.1:1: cannot join the Ray cluster"), done.stderr
    assert last.endswith("[engine.cannot-connect]")
