"""Mapping over shards, on both engines."""

import functools
import operator
import os
import threading

import engine_work as work
import numpy as np
import pytest

from plait.engines import LocalEngine
from plait.errors import DataError, EngineError, UsageError


def test_results_come_in_shard_order_whatever_finishes_first(engine):
    finished = []
    assert engine.map(work.slow_first, range(6), on_done=lambda *counts: finished.append(counts)) == list(range(6))
    assert finished == [(n, 6) for n in range(1, 7)]


def test_equal_to_a_plain_loop(engine):
    shards = [np.arange(n, dtype=np.float64) for n in range(5)]
    results = engine.map(np.cumsum, shards)
    assert all(np.array_equal(a, np.cumsum(b)) for a, b in zip(results, shards, strict=True))


def test_no_shards(engine):
    assert engine.map(work.square, []) == []


def test_runs_in_other_processes_at_most_as_many_as_asked(engine):
    pids = engine.map(work.where, range(12), workers=2)
    assert os.getpid() not in pids
    assert len(set(pids)) <= 2


def test_a_partial_is_importable(engine):
    assert engine.map(functools.partial(operator.add, 10), [1, 2]) == [11, 12]


def test_shards_and_results_are_copies_that_may_be_written(engine):
    shard = np.ones(300_000)
    [result, _] = engine.map(work.double_in_place, [shard, shard])
    result += 1
    assert shard[0] == 1
    assert result[0] == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_shard_is_named_with_the_remote_traceback(engine, workers):
    with pytest.raises(EngineError, match=r"shard 2 of 5 failed: ValueError: bad value 2") as caught:
        engine.map(work.fail_at_two, range(5), workers=workers)
    assert caught.value.code == "engine.shard-failed"
    if workers == 2:
        assert 'raise ValueError(f"bad value {x}")' in str(caught.value.__cause__)
    assert engine.map(work.square, [3], workers=workers) == [9]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_ours_comes_back_as_it_was(engine, workers):
    with pytest.raises(DataError) as caught:
        engine.map(work.plait_error_at_two, range(5), workers=workers)
    assert str(caught.value) == "a.jsonl:7: row 7 is broken; mend it [data.broken]"
    assert caught.value.__notes__ == ["while working on shard 2 of 5"]


@pytest.mark.parametrize("how", ["exit", "sys.exit", "SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_names_its_shard_and_the_engine_goes_on(engine, how):
    with pytest.raises(EngineError, match=r"the worker running shard 1 of 3 died") as caught:
        engine.map(work.die, [(i, how) for i in range(3)])
    assert caught.value.code == "engine.worker-died"
    assert engine.map(work.square, range(4)) == [0, 1, 4, 9]


def test_what_cannot_be_sent_is_refused(engine):
    with pytest.raises(EngineError, match="the function to map cannot be sent") as caught:
        engine.map(lambda x: x, range(3))
    assert caught.value.code == "engine.not-sendable"
    with pytest.raises(EngineError, match="shard 1 of 2 cannot be sent"):
        engine.map(work.square, [1, threading.Lock()])


def test_a_function_that_works_apart_only_is_refused_with_one_worker_too():
    with LocalEngine(workers=1) as engine, pytest.raises(EngineError, match="cannot be sent"):
        engine.map(lambda x: x, range(3))


def test_a_result_that_cannot_be_sent_is_a_failure_of_its_shard():
    with LocalEngine(workers=2) as engine, pytest.raises(EngineError, match="the result cannot be sent"):
        engine.map(work.lambda_result, range(2))


def test_an_error_in_on_done_ends_the_map_and_not_the_engine(engine):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.map(work.square, range(4), on_done=stop)
    assert engine.map(work.square, range(4)) == [0, 1, 4, 9]


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_below_one(engine, workers):
    with pytest.raises(UsageError, match=f"workers = {workers}"):
        engine.map(work.square, [1], workers=workers)


def test_one_local_worker_runs_here():
    with LocalEngine(workers=1) as engine:
        assert engine.map(work.where, range(2)) == [os.getpid()] * 2


def test_local_workers_are_reused_and_share_the_processors(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with LocalEngine(workers=2) as engine:
        assert len({pid for _ in range(3) for pid in engine.map(work.where, range(8))}) <= 2
        expected = str(max(1, len(os.sched_getaffinity(0)) // 2))
        assert engine.map(work.threads, range(2)) == [expected] * 2


def test_a_stream_gives_what_a_map_gives(engine):
    assert list(engine.stream(work.slow_first, iter(range(6)), workers=2)) == list(range(6))
    assert list(engine.stream(work.square, iter([]))) == []
    pids = list(engine.stream(work.where, range(12), workers=2))
    assert os.getpid() not in pids
    assert len(set(pids)) <= 2
    big = [np.arange(n * 100_000) for n in range(3)]
    assert [x.sum() for x in engine.stream(np.cumsum, big)] == [np.cumsum(x).sum() for x in big]


def test_a_stream_takes_shards_as_it_goes(engine):
    taken = []
    results = engine.stream(work.square, (taken.append(n) or n for n in range(10_000)), workers=2)
    assert next(results) == 0
    assert len(taken) < 10_000
    results.close()


def test_a_failing_shard_of_a_stream_is_named(engine):
    with pytest.raises(EngineError, match=r"shard 2( of 5)? failed: ValueError: bad value 2") as caught:
        list(engine.stream(work.fail_at_two, range(5), workers=2))
    assert 'raise ValueError(f"bad value {x}")' in str(caught.value.__cause__)
    assert list(engine.stream(work.square, [3])) == [9]


def test_a_shard_of_a_stream_whose_worker_died_is_named_and_the_engine_goes_on(engine):
    with pytest.raises(EngineError, match=r"the worker running shard \d( of 3)? died") as caught:
        list(engine.stream(work.die, [(i, "SIGKILL") for i in range(3)]))
    assert caught.value.code == "engine.worker-died"
    assert list(engine.stream(work.square, range(4))) == [0, 1, 4, 9]
