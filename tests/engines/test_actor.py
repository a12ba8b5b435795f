"""Actors, on both engines."""

import os
import signal
import threading
import time
from concurrent.futures import CancelledError

import engine_work as work
import pytest

from plait.errors import DataError, EngineError


def test_concurrent_callers_lose_no_update(engine):
    actor = engine.actor(work.Counter, 100)

    def add_many():
        for _ in range(25):
            actor.call("add", 1)

    threads = [threading.Thread(target=add_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actor.call("add", 0).result(60) == 200
    actor.stop()


def test_calls_of_one_caller_run_in_order(engine):
    actor = engine.actor(work.Counter)
    for item in range(50):
        actor.call("note", item)
    assert actor.call("notes").result(60) == list(range(50))
    actor.stop()


def test_arguments_are_taken_at_the_time_of_the_call(engine):
    actor = engine.actor(work.Counter)
    item = [1]
    actor.call("sleep", 0.1)
    done = actor.call("note", item)
    item.append(2)
    done.result(60)
    assert actor.call("notes").result(60) == [[1]]
    actor.stop()


def test_exceptions_travel_with_their_traceback(engine):
    actor = engine.actor(work.Counter)
    error = actor.call("fail").exception(60)
    assert isinstance(error, EngineError)
    assert str(error).startswith("Counter.fail failed: KeyError: 'nothing here'")
    assert 'raise KeyError("nothing here")' in str(error.__cause__)
    with pytest.raises(DataError, match="no rows"):
        actor.call("fail_plait").result(60)
    assert "no attribute 'nonsense'" in str(actor.call("nonsense").exception(60))
    assert actor.call("add", 1).result(60) == 1
    actor.stop()


def test_a_constructor_that_fails_is_the_answer_to_every_call(engine):
    actor = engine.actor(work.Broken, "no such model", restarts=3)
    for _ in range(2):
        assert "ValueError: no such model" in str(actor.call("anything").exception(60))
    actor.stop()


def test_restart_builds_it_anew_and_only_the_running_call_fails(engine):
    actor = engine.actor(work.Counter, 10, restarts=1)
    assert actor.call("add", 5).result(60) == 15
    died, later = actor.call("die"), actor.call("add", 1)
    error = died.exception(60)
    assert isinstance(error, EngineError)
    assert error.code == "engine.actor-died"
    assert later.result(60) == 11
    assert actor.call("die").exception(60).code == "engine.actor-died"
    assert actor.call("add", 1).exception(60).code == "engine.actor-died"
    actor.stop()


def test_an_actor_that_died_while_idle_is_restarted_before_the_next_call(engine, gone):
    actor = engine.actor(work.Counter, 10, restarts=1)
    pid = actor.call("pid").result(60)
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    time.sleep(0.6)
    assert actor.call("add", 1).result(60) == 11
    actor.stop()


def test_stop_ends_the_process_and_fails_what_is_running_or_waiting(engine, gone):
    actor = engine.actor(work.Counter)
    pid = actor.call("pid").result(60)
    running, waiting = actor.call("sleep", 60), actor.call("add", 1)
    while not running.running():
        time.sleep(0.01)
    actor.stop()
    for future in (running, waiting, actor.call("add", 1)):
        assert future.exception(60).code == "engine.actor-stopped"
    assert gone(pid)
    actor.stop()


def test_a_waiting_call_can_be_cancelled(engine):
    actor = engine.actor(work.Counter)
    actor.call("sleep", 0.3)
    waiting = actor.call("add", 1)
    assert waiting.cancel()
    assert actor.call("add", 1).result(60) == 1
    with pytest.raises(CancelledError):
        waiting.result(60)
    actor.stop()


def test_arguments_that_cannot_be_sent(engine):
    actor = engine.actor(work.Counter)
    with pytest.raises(EngineError, match=r"the arguments of Counter.add cannot be sent"):
        actor.call("add", threading.Lock())
    with pytest.raises(EngineError, match="actor <lambda> cannot be sent"):
        engine.actor(lambda: 1)
    actor.stop()


def test_actors_work_at_the_same_time(engine):
    actors = [engine.actor(work.Counter) for _ in range(2)]
    for actor in actors:
        actor.call("add", 0).result(60)
    start = time.monotonic()
    for future in [actor.call("sleep", 1.0) for actor in actors]:
        future.result(60)
    assert time.monotonic() - start < 1.9
    for actor in actors:
        actor.stop()
