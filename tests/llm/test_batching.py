from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import LLMError, ModelError, UsageError
from plait.llm.batching import Batcher, Group, Row

GREEDY = Group(temperature=0.0, max_tokens=4)


class Work:
    """Adds prompt and seed; notes its batches; can be held until it is let go."""

    def __init__(self, *, held=False):
        self.batches = []
        self.threads = set()
        self.go = threading.Event()
        self.begun = threading.Event()
        if not held:
            self.go.set()

    def __call__(self, rows):
        self.threads.add(threading.get_ident())
        self.batches.append(list(rows))
        self.begun.set()
        assert self.go.wait(10)
        return [sum(row.prompt) + row.seed for row in rows]


def row(*prompt, seed=0, group=GREEDY):
    return Row(group, prompt, seed)


def test_concurrent_calls_become_few_batches_on_one_thread():
    work = Work(held=True)
    batcher = Batcher(work, max_batch=8)
    first = batcher.submit(lambda: [row(1)])
    assert work.begun.wait(10)
    rest = [batcher.submit(lambda i=i: [row(i)]) for i in range(2, 34)]
    work.go.set()
    assert [f.result(10) for f in [first, *rest]] == [[i] for i in range(1, 34)]
    batcher.close()
    assert [len(b) for b in work.batches] == [1, 8, 8, 8, 8]
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_equal_rows_are_computed_once_within_a_call_across_calls_and_later():
    work = Work()
    batcher = Batcher(work, window_s=0.2, max_batch=64)
    calls = [batcher.submit(lambda: [row(1, 2)] * 5) for _ in range(10)]
    assert [c.result(10) for c in calls] == [[3] * 5] * 10
    assert batcher.submit(lambda: [row(1, 2)]).result(10) == [3]
    batcher.close()
    assert work.batches == [[row(1, 2)]]
    counts = batcher.counts
    assert (counts.calls, counts.replies, counts.computed, counts.batches) == (11, 51, 1, 1)
    assert (counts.prompt_tokens, counts.prefilled_tokens, counts.saved_tokens) == (102, 2, 100)


def test_what_is_remembered_is_bounded_and_the_latest():
    work = Work()
    batcher = Batcher(work, window_s=0, remember=2)
    for i in (1, 2, 3, 3, 1):
        batcher.submit(lambda i=i: [row(i)]).result(10)
    batcher.close()
    assert work.batches == [[row(1)], [row(2)], [row(3)], [row(1)]]


def test_only_rows_of_one_group_are_computed_together_oldest_first():
    other = Group(temperature=0.0, max_tokens=4, schema="{}")
    work = Work(held=True)
    batcher = Batcher(work)
    calls = [batcher.submit(lambda: [row(0)])]
    assert work.begun.wait(10)
    calls += [batcher.submit(lambda i=i: [row(i, group=GREEDY if i % 2 else other)]) for i in range(1, 7)]
    work.go.set()
    for call in calls:
        call.result(10)
    batcher.close()
    assert work.batches[1:] == [[row(1), row(3), row(5)], [row(i, group=other) for i in (2, 4, 6)]]


def test_a_batch_keeps_to_its_token_budget_but_one_row_always_fits():
    work = Work(held=True)
    batcher = Batcher(work, max_batch_tokens=20)  # rows × (longest prompt + 4)
    calls = [batcher.submit(lambda: [row(0)])]
    assert work.begun.wait(10)
    calls += [batcher.submit(lambda n=n: [row(*range(10, 10 + n))]) for n in (5, 6, 7, 40, 1, 2, 3)]
    work.go.set()
    for call in calls:
        call.result(10)
    batcher.close()
    assert [[len(r.prompt) for r in b] for b in work.batches[1:]] == [[5, 6], [7], [40], [1, 2], [3]]


def test_a_cancelled_call_is_not_computed_and_others_are_not_disturbed():
    work = Work(held=True)
    batcher = Batcher(work)

    async def main():
        running = asyncio.wrap_future(batcher.submit(lambda: [row(1)]))
        while not work.begun.is_set():
            await asyncio.sleep(0.001)
        gone, shared, kept = (
            asyncio.wrap_future(batcher.submit(lambda rows=rows: rows))
            for rows in ([row(2), row(3)], [row(3), row(4)], [row(5)])
        )
        await asyncio.sleep(0.01)
        running.cancel()
        gone.cancel()
        await asyncio.sleep(0.01)  # a cancellation reaches the batcher's future by the event loop
        work.go.set()
        assert await shared == [3, 4]
        assert await kept == [5]

    asyncio.run(main())
    batcher.close()
    assert work.batches == [[row(1)], [row(3), row(4), row(5)]]


def test_an_error_reaches_every_caller_of_its_batch_and_no_other():
    def fails(rows):
        if any(sum(r.prompt) == 13 for r in rows):
            raise ModelError("thirteen", code="model.thirteen", hint="not thirteen")
        if any(sum(r.prompt) == 14 for r in rows):
            raise ValueError("a bug")
        return [0 for _ in rows]

    batcher = Batcher(fails, window_s=0.1)
    calls = [batcher.submit(lambda i=i: [row(i)]) for i in (1, 13)]
    errors = [c.exception(10) for c in calls]
    assert [type(e) for e in errors] == [LLMError, LLMError]
    assert errors[0] is not errors[1]
    assert str(errors[0]) == "thirteen; not thirteen [model.thirteen]"
    assert isinstance(errors[0].__cause__, ModelError)
    assert "a bug" in str(batcher.submit(lambda: [row(14)]).exception(10))
    assert batcher.submit(lambda: [row(1)]).result(10) == [0]
    batcher.close()


def test_a_call_that_cannot_be_laid_out_fails_alone():
    def too_long():
        raise UsageError("too long", code="llm.too-long")

    batcher = Batcher(Work(), window_s=0.05)
    bad, good = batcher.submit(too_long), batcher.submit(lambda: [row(1)])
    assert isinstance(bad.exception(10), UsageError)
    assert good.result(10) == [1]
    batcher.close()


def test_closing_finishes_what_runs_fails_what_waits_and_ends_the_thread():
    work = Work(held=True)
    batcher = Batcher(work, window_s=0)
    running = batcher.submit(lambda: [row(1)])
    assert work.begun.wait(10)
    waiting = batcher.submit(lambda: [row(2)])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while not batcher._closed:
        time.sleep(0.001)
    work.go.set()
    closing.join(10)
    assert running.result(10) == [1]
    assert waiting.exception(10).code == "llm.closed"
    with pytest.raises(LLMError, match="closed"):
        batcher.submit(lambda: [row(3)])
    assert not any(t.name == "plait-batcher" and t.is_alive() for t in threading.enumerate())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(
                Row,
                st.sampled_from([GREEDY, Group(0.7, 4), Group(0.0, 9, ("x",))]),
                st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
                st.integers(0, 2),
            ),
            min_size=1,
            max_size=6,
        ),
        max_size=20,
    ),
    st.integers(1, 5),
    st.integers(1, 40),
)
def test_results_never_depend_on_how_calls_fall_into_batches(calls, max_batch, max_tokens):
    batcher = Batcher(Work(), max_batch=max_batch, max_batch_tokens=max_tokens, window_s=0.001, remember=3)
    try:
        futures = [batcher.submit(lambda rows=rows: rows) for rows in calls]
        assert [f.result(10) for f in futures] == [[sum(r.prompt) + r.seed for r in rows] for rows in calls]
    finally:
        batcher.close()
