from __future__ import annotations

import asyncio
import copy
import pickle
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_clock import FakeClock
from plait.errors import LimitReached
from plait.llm.limits import Limiter, Limits, Prices


def limiter_on(clock, **limits):
    return Limiter(Limits(**limits), clock=clock)


async def use(limiter, clock, starts, *, tokens=0, money=0.0, takes=0.0, settle=True):
    async with limiter.admit(tokens=tokens, money=money) as ticket:
        starts.append(clock.now() - 1000)
        if takes:
            await clock.sleep(takes)
        if settle:
            ticket.settle(tokens=tokens, money=money)


def test_requests_per_minute_is_a_sliding_window():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, requests_per_minute=3)

    async def main():
        await use(limiter, clock, starts)
        await clock.sleep(50)
        await asyncio.gather(*(use(limiter, clock, starts) for _ in range(4)))

    clock.run(main())
    # Two more fit beside the first; the fourth waits for the first to leave the window, the fifth for the second.
    assert starts == [0, 50, 50, 60, 110]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 90), st.integers(1, 40)), min_size=1, max_size=25),
    st.integers(40, 80),
    st.integers(1, 5),
)
def test_no_minute_ever_holds_more_than_the_rates(calls, per_minute, requests):
    clock = FakeClock()
    limiter = limiter_on(clock, tokens_per_minute=per_minute, requests_per_minute=requests)
    admitted = []

    async def call(delay, tokens):
        await clock.sleep(delay)
        async with limiter.admit(tokens=tokens) as ticket:
            admitted.append((clock.now(), tokens))
            ticket.settle(tokens=tokens, money=0)

    async def main():
        await asyncio.gather(*(call(*c) for c in calls))

    clock.run(main())
    assert len(admitted) == len(calls)
    for time, _ in admitted:
        inside = [t for at, t in admitted if at <= time < at + 60]
        assert sum(inside) <= per_minute
        assert len(inside) <= requests


def test_calls_are_admitted_in_order_so_a_large_one_does_not_starve():
    clock, order = FakeClock(), []
    limiter = limiter_on(clock, tokens_per_minute=100)

    async def call(name, tokens):
        async with limiter.admit(tokens=tokens) as ticket:
            order.append((name, clock.now() - 1000))
            ticket.settle(tokens=tokens, money=0)

    async def main():
        await asyncio.gather(call("first", 60), call("large", 100), *(call(f"small{i}", 10) for i in range(3)))

    clock.run(main())
    assert order == [("first", 0), ("large", 60), ("small0", 120), ("small1", 120), ("small2", 120)]


def test_an_estimate_that_was_too_high_lets_the_next_call_in_at_once():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, tokens_per_minute=100)

    async def main():
        async with limiter.admit(tokens=90) as ticket:
            ticket.settle(tokens=10, money=0)
        await use(limiter, clock, starts, tokens=90)

    clock.run(main())
    assert starts == [0]


def test_a_failed_request_keeps_its_estimate_in_the_minute_and_spends_nothing():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, tokens_per_minute=100, max_tokens=100)

    async def main():
        with pytest.raises(RuntimeError):
            async with limiter.admit(tokens=90):
                raise RuntimeError
        await use(limiter, clock, starts, tokens=90)

    clock.run(main())
    assert starts == [60]
    assert limiter.spent.tokens == 90


def test_concurrent_is_never_exceeded_and_slots_are_given_back_by_failures():
    clock = FakeClock()
    limiter = limiter_on(clock, concurrent=3)
    running, most = 0, 0

    async def call(i):
        nonlocal running, most
        async with limiter.admit(tokens=1):
            running += 1
            most = max(most, running)
            await clock.sleep(1)
            running -= 1
            if i % 2:
                raise RuntimeError

    async def main():
        return await asyncio.gather(*(call(i) for i in range(10)), return_exceptions=True)

    results = clock.run(main())
    assert most == 3
    assert sum(isinstance(r, RuntimeError) for r in results) == 5
    assert clock.now() == 1004
    assert limiter.spent.in_flight == 0


def test_cancelling_a_waiting_call_leaves_the_queue_intact():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, concurrent=1)

    async def main():
        first = asyncio.ensure_future(use(limiter, clock, starts, takes=5))
        second = asyncio.ensure_future(use(limiter, clock, starts, takes=5))
        third = asyncio.ensure_future(use(limiter, clock, starts))
        await clock.sleep(1)
        second.cancel()
        await asyncio.gather(first, third)
        assert second.cancelled()

    clock.run(main())
    assert starts == [0, 5]


@pytest.mark.parametrize(
    ("limits", "tokens", "money", "admitted", "named"),
    [
        ({"max_requests": 2}, 0, 0.0, 2, "2 of 2 requests are spent"),
        ({"max_tokens": 100}, 30, 0.0, 3, "90 of 100 tokens"),
        ({"max_money": 0.3}, 0, 0.1, 3, "of 0.3 money"),
        ({"max_requests": 0}, 0, 0.0, 0, "0 of 0 requests"),
    ],
)
def test_totals_are_never_passed(limits, tokens, money, admitted, named):
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, **limits)

    async def main():
        calls = (use(limiter, clock, starts, tokens=tokens, money=money, takes=1) for _ in range(6))
        return await asyncio.gather(*calls, return_exceptions=True)

    results = clock.run(main())
    assert len(starts) == admitted
    refused = [r for r in results if isinstance(r, LimitReached)]
    assert len(refused) == 6 - admitted
    assert named in refused[0].message
    assert refused[0].code == "llm.limit-reached"


def test_a_call_waits_while_calls_in_flight_may_still_leave_enough():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock, max_tokens=100)

    async def cheap_after_all():
        async with limiter.admit(tokens=80) as ticket:
            await clock.sleep(7)
            ticket.settle(tokens=10, money=0)

    async def main():
        await asyncio.gather(cheap_after_all(), use(limiter, clock, starts, tokens=80))

    clock.run(main())
    assert starts == [7]
    assert limiter.spent.tokens == 90


def test_a_call_larger_than_the_rate_is_refused_at_once():
    clock = FakeClock()
    with pytest.raises(LimitReached, match="500 tokens, more than tokens_per_minute = 100") as caught:
        clock.run(use(limiter_on(clock, tokens_per_minute=100), clock, [], tokens=500))
    assert caught.value.code == "llm.call-too-large"


def test_a_pause_holds_everyone():
    clock, starts = FakeClock(), []
    limiter = limiter_on(clock)

    async def main():
        await use(limiter, clock, starts)
        limiter.pause(12.5)
        await asyncio.gather(*(use(limiter, clock, starts) for _ in range(2)))

    clock.run(main())
    assert starts == [0, 12.5, 12.5]


def test_one_limiter_serves_threads_with_their_own_event_loops():
    limiter = Limiter(Limits(concurrent=2, max_requests=40))
    lock, running, most, done = threading.Lock(), 0, 0, 0

    async def call():
        nonlocal running, most, done
        async with limiter.admit(tokens=1):
            with lock:
                running += 1
                most = max(most, running)
            await asyncio.sleep(0.001)
            with lock:
                running -= 1
                done += 1

    async def many():
        await asyncio.gather(*(call() for _ in range(10)))

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (done, most) == (40, 2)


def test_the_same_object_is_shared_and_copies_are_not():
    limits = Limits(concurrent=2)
    assert limits.limiter is limits.limiter
    for other in (
        copy.copy(limits),
        copy.deepcopy(limits),
        limits.model_copy(),
        pickle.loads(pickle.dumps(limits)),
    ):
        assert other == limits
        assert other.limiter is not limits.limiter
    assert limits.model_copy(update={"concurrent": 9}).limiter.limits.concurrent == 9


def test_prices_by_hand():
    assert Prices(prompt_per_million=3.0, completion_per_million=15.0).of(2_000, 100) == pytest.approx(0.0075)
