"""Opening, closing, and what is left behind: nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import engine_work as work
import psutil
import pytest

from plait.core import optional
from plait.engines import LocalEngine, open_engine
from plait.errors import EngineError, MissingExtra, UsageError


def children():
    # The resource tracker is multiprocessing's own, one for the life of this program.
    return [
        p
        for p in psutil.Process().children(recursive=True)
        if not any("resource_tracker" in part for part in p.cmdline())
    ]


@pytest.fixture
def no_new_children():
    before = {p.pid for p in children()}
    yield
    deadline = time.monotonic() + 10
    while (left := [p for p in children() if p.pid not in before]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def test_close_leaves_no_process(no_new_children):
    engine = LocalEngine(workers=2)
    engine.map(work.square, range(4))
    actor = engine.actor(work.Counter)
    actor.call("add", 1).result(60)
    running = engine.actor(work.Counter).call("sleep", 60)
    while not running.running():
        time.sleep(0.01)
    engine.close()
    engine.close()
    assert running.exception(10).code == "engine.actor-stopped"
    with pytest.raises(UsageError, match="closed"):
        engine.map(work.square, range(4))
    with pytest.raises(UsageError, match="closed"):
        engine.actor(work.Counter)


def test_a_dropped_engine_leaves_no_process(no_new_children):
    engine = LocalEngine(workers=2)
    engine.map(work.square, range(4))
    engine.actor(work.Counter).call("add", 1).result(60)
    del engine


def test_a_failure_leaves_no_busy_worker(no_new_children, tmp_path):
    with LocalEngine(workers=2) as engine:
        with pytest.raises(EngineError, match="shard 1 of 2"):
            engine.map(work.long_or_fail, [(str(tmp_path), 0), (str(tmp_path), 1)])
        busy = int((tmp_path / "0.pid").read_text())
        assert not psutil.pid_exists(busy)


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
import engine_work as work
from plait.engines import LocalEngine
if __name__ == "__main__":
    with LocalEngine(workers=2) as engine:
        engine.actor(work.Counter).call("add", 1).result(60)
        engine.map(work.sleep_and_tell, [({out!r}, 0), ({out!r}, 1)])
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_an_interrupted_or_killed_program(tmp_path, gone, how):
    script = tmp_path / "program.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent), out=str(tmp_path)))
    program = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 60
    files = [tmp_path / "0.pid", tmp_path / "1.pid"]
    while not all(f.exists() and f.read_text() for f in files):
        assert time.monotonic() < deadline
        assert program.poll() is None
        time.sleep(0.02)
    pids = [p.pid for p in psutil.Process(program.pid).children(recursive=True)]
    assert len(pids) >= 3
    if how is signal.SIGINT:
        os.killpg(program.pid, how)  # as Ctrl-C in a terminal: the whole group
    else:
        program.kill()
    errors = program.communicate(timeout=30)[1].decode()
    assert program.returncode != 0
    if how is signal.SIGINT:
        assert "KeyboardInterrupt" in errors
        assert errors.count("Traceback") == 1, errors
    assert all(gone(pid) for pid in pids)


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import engine_work as work\nfrom plait.engines import LocalEngine\n"
        "print(LocalEngine(workers=2).map(work.square, range(4)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert '`if __name__ == "__main__":`' in done.stderr


def test_functions_of_the_main_script_work(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "from plait.engines import open_engine\n"
        "def triple(x):\n    return 3 * x\n"
        "if __name__ == '__main__':\n"
        "    with open_engine('local', workers=2) as engine:\n        print(engine.map(triple, range(4)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[0, 3, 6, 9]\n", done.stderr


def test_open_engine_by_name_or_path():
    with open_engine("local", workers=1) as engine:
        assert engine.name == "local"
    with open_engine("plait.engines.local:LocalEngine") as engine:
        assert engine.map(work.square, [2], workers=1) == [4]


def test_a_wrong_name_gives_the_nearest():
    with pytest.raises(UsageError, match='no engine is called "locl"') as caught:
        open_engine("locl")
    assert caught.value.hint == 'did you mean "local"?'


def test_the_local_engine_joins_no_cluster():
    with pytest.raises(UsageError, match="joins no cluster"):
        open_engine("local", address="127.0.0.1:6379")


def test_without_ray_the_extra_is_named(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(optional.importlib, "import_module", absent)
    from plait.engines.ray import RayEngine

    with pytest.raises(MissingExtra) as caught:
        RayEngine()
    assert caught.value.hint == 'pip install "plait[ray]"'
