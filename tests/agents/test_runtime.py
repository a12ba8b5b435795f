from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from plait.agents import Address, Result, Runtime, Supervision
from plait.errors import EngineError, UsageError


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.count = start

    async def slow_add(self, amount: int) -> int:
        before = self.count
        await asyncio.sleep(0.001)
        self.count = before + amount
        return self.count

    def add(self, amount: int) -> int:
        self.count += amount
        return self.count

    async def fail(self) -> None:
        self.count += 100
        raise ValueError("no luck")


class Gate:
    """Counts who is inside its method at once, and lets them out together."""

    inside = 0
    most = 0

    @classmethod
    async def enter(cls, release: asyncio.Event) -> None:
        cls.inside += 1
        cls.most = max(cls.most, cls.inside)
        await release.wait()
        cls.inside -= 1


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(10):
            await test()
            here = asyncio.current_task()
            assert [t for t in asyncio.all_tasks() if t is not here] == []  # nothing is left behind

    asyncio.run(within())


def test_twenty_concurrent_read_sleep_write_lose_no_update() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter)
            answers = await asyncio.gather(*[counter.call("slow_add", 1) for _ in range(20)])
            assert answers == list(range(1, 21))

    run(test)


def test_messages_of_one_actor_are_handled_in_the_order_sent() -> None:
    class Log:
        def __init__(self) -> None:
            self.seen: list[int] = []

        async def note(self, number: int) -> list[int]:
            if number % 3 == 0:
                await asyncio.sleep(0)
            self.seen.append(number)
            return self.seen

    async def test() -> None:
        async with Runtime(in_flight=3) as runtime:
            logs = [runtime.spawn(Log) for _ in range(5)]
            sent = [log.call("note", number) for number in range(200) for log in logs]
            for result in sent[-5:]:
                assert await result == list(range(200))

    run(test)


@pytest.mark.parametrize("in_flight", [1, 7])
def test_the_window_bounds_running_methods_and_is_used_whole(in_flight: int) -> None:
    async def test() -> None:
        Gate.inside = Gate.most = 0
        release = asyncio.Event()
        async with Runtime(in_flight=in_flight) as runtime:
            entered = [runtime.spawn(Gate).call("enter", release) for _ in range(40)]
            for _ in range(100):
                await asyncio.sleep(0)
            assert Gate.inside == in_flight
            release.set()
            await asyncio.gather(*entered)
        assert Gate.most == in_flight

    run(test)


def test_a_future_argument_is_a_dependency_and_holds_no_thread() -> None:
    class Link:
        async def forward(self, so_far: int) -> int:
            return so_far + 1

    async def test() -> None:
        before = threading.active_count()
        async with Runtime(in_flight=2) as runtime:
            head: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            last: asyncio.Future[int] = head
            for _ in range(500):
                last = runtime.spawn(Link).call("forward", last)
            other = await runtime.spawn(Counter).call("add", 3)
            assert (other, last.done(), threading.active_count()) == (3, False, before)
            head.set_result(0)
            assert await last == 500

    run(test)


def test_a_message_that_waits_for_a_dependency_does_not_block_its_actor() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter)
            later = counter.call("add", counter.call("add", 5))
            assert await counter.call("add", 0) == 5
            assert await later == 10

    run(test)


def test_the_same_dependency_twice_and_one_already_done() -> None:
    class Sum:
        def of(self, *numbers: int) -> int:
            return sum(numbers)

    async def test() -> None:
        async with Runtime() as runtime:
            one = runtime.spawn(Counter).call("add", 1)
            assert await runtime.spawn(Sum).call("of", one, one, 5) == 7
            assert one.done()
            assert await runtime.spawn(Sum).call("of", one, 5) == 6

    run(test)


def test_a_failed_dependency_fails_its_dependants_with_the_same_error() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter)
            failed = runtime.spawn(Counter).call("fail")
            chained = counter.call("add", counter.call("add", failed))
            with pytest.raises(ValueError, match="no luck"):
                await chained
            assert await counter.call("add", 1) == 1  # neither call ran

    run(test)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("keep", [101, 202, 303]), ("restart", [1, 1, "agents.stopped"]), ("stop", ["agents.stopped"] * 3)],
)
def test_errors_go_to_the_caller_and_the_policy_decides_about_the_actor(policy: str, expected: list[object]) -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            supervision = Supervision.model_validate({"on_error": policy, "max_restarts": 2})
            counter = runtime.spawn(Counter, supervision=supervision)
            seen: list[object] = []
            for _ in range(3):
                failed, after = counter.call("fail"), counter.call("add", 1)
                with pytest.raises((ValueError, EngineError)):
                    await failed
                [answer] = await asyncio.gather(after, return_exceptions=True)
                seen.append(answer.code if isinstance(answer, EngineError) else answer)
            assert seen == expected

    run(test)


def test_a_factory_that_fails_tells_the_caller() -> None:
    def broken() -> Counter:
        raise RuntimeError("cannot build")

    async def test() -> None:
        async with Runtime() as runtime:
            with pytest.raises(RuntimeError, match="cannot build"):
                await runtime.spawn(broken).call("add", 1)

    run(test)


def test_unknown_and_private_methods_are_the_callers_mistake() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter, supervision=Supervision(on_error="stop"))
            for name in ("ad", "_secret", "count"):
                with pytest.raises(UsageError) as caught:
                    await counter.call(name, 1)
                assert caught.value.code == "agents.no-method"
            assert caught.value.hint is not None
            assert await counter.call("add", 1) == 1  # the actor was not stopped for it

    run(test)


def test_stop_iteration_reaches_the_caller_as_an_error() -> None:
    class Odd:
        def go(self) -> None:
            raise StopIteration(3)

    async def test() -> None:
        async with Runtime() as runtime:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await runtime.spawn(Odd).call("go")

    run(test)


def test_a_cancelled_message_is_not_handled() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter)
            first, second, third = (counter.call("slow_add", 1) for _ in range(3))
            second.cancel()
            assert await third == 2
            assert await first == 1

    run(test)


def test_a_method_whose_awaited_future_is_cancelled_does_not_end_its_worker() -> None:
    class Waits:
        async def on(self, event: list[asyncio.Future[None]]) -> None:
            await event[0]

    async def test() -> None:
        async with Runtime(in_flight=1) as runtime:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            result = runtime.spawn(Waits).call("on", [future])
            await asyncio.sleep(0)
            future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await result
            assert await runtime.spawn(Counter).call("add", 1) == 1

    run(test)


class Peer:
    """Asks another actor while handling a message."""

    def __init__(self) -> None:
        self.friend: Address | None = None

    async def meet(self, friend: Address) -> None:
        self.friend = friend

    async def ask(self, depth: int) -> int:
        if depth == 0 or self.friend is None:
            return 0
        return 1 + await self.friend.call("ask", depth - 1)

    async def ask_through_a_dependency(self, other: Address) -> int:
        assert self.friend is not None
        return await other.call("add", self.friend.call("ask", 0))


def test_actors_waiting_for_actors_do_not_use_up_the_window() -> None:
    async def test() -> None:
        async with Runtime(in_flight=1) as runtime:
            peers = [runtime.spawn(Peer) for _ in range(50)]
            for one, other in pairwise(peers):
                await one.call("meet", other)
            assert await peers[0].call("ask", 49) == 49

    run(test)


def test_gather_inside_a_method_does_not_use_up_the_window() -> None:
    class Boss:
        async def total(self, staff: list[Address]) -> int:
            return sum(await asyncio.gather(*[one.call("add", 1) for one in staff]))

    async def test() -> None:
        async with Runtime(in_flight=1) as runtime:
            staff = [runtime.spawn(Counter) for _ in range(10)]
            assert await runtime.spawn(Boss).call("total", staff) == 10
            assert await runtime.spawn(Boss).call("total", staff) == 20

    run(test)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_waiting_for_oneself_is_an_error_not_a_hang(length: int) -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            ring = [runtime.spawn(Peer, name=f"peer-{i}") for i in range(length)]
            for i, peer in enumerate(ring):
                await peer.call("meet", ring[(i + 1) % length])
            with pytest.raises(EngineError, match="wait for ever") as caught:
                await ring[0].call("ask", 99)
            assert caught.value.code == "agents.wait-cycle"

    run(test)


def test_waiting_for_oneself_through_a_dependency_is_an_error() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            peer, other = runtime.spawn(Peer), runtime.spawn(Counter)
            await peer.call("meet", peer)
            with pytest.raises(EngineError, match="wait for ever"):
                await peer.call("ask_through_a_dependency", other)

    run(test)


def test_a_background_task_of_an_actor_may_await_its_own_messages() -> None:
    class Ticker:
        ticks = 0

        async def start(self, me: Address) -> list[asyncio.Task[int]]:
            async def tick() -> int:
                return await me.call("tick")

            return [asyncio.create_task(tick())]

        def tick(self) -> int:
            self.ticks += 1
            return self.ticks

    async def test() -> None:
        async with Runtime() as runtime:
            ticker = runtime.spawn(Ticker)
            [task] = await ticker.call("start", ticker)
            assert await task == 1

    run(test)


def test_leaving_the_block_waits_for_messages_nobody_awaited() -> None:
    class Chatty:
        handled = 0

        async def go(self, me: Address, times: int) -> None:
            await asyncio.sleep(0)
            Chatty.handled += 1
            if times:
                me.call("go", me, times - 1)

    async def test() -> None:
        async with Runtime() as runtime:
            chatty = runtime.spawn(Chatty)
            chatty.call("go", chatty, 9)
        assert Chatty.handled == 10

    run(test)


def test_leaving_by_an_exception_stops_at_once_and_releases_actors() -> None:
    released: list[str] = []

    class Holder:
        async def hold(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                released.append("method")

        async def aclose(self) -> None:
            released.append("actor")

    async def test() -> None:
        results: list[Result] = []

        async def fails() -> None:
            async with Runtime() as runtime:
                holder = runtime.spawn(Holder)
                results.extend([holder.call("hold"), holder.call("hold")])
                results.append(holder.call("hold", asyncio.get_running_loop().create_future()))
                await asyncio.sleep(0.001)
                raise KeyError("outside")

        with pytest.raises(KeyError):
            await fails()
        assert released == ["method", "actor"]
        assert results[0].cancelled()
        for result in results[1:]:
            error = result.exception()
            assert isinstance(error, EngineError)
            assert error.code == "agents.closed"
        with pytest.raises(EngineError, match="closed"):
            results[0].target.call("hold")

    run(test)


def test_stop_ends_an_actor_after_what_is_in_its_mailbox() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter, name="counter")
            before, stop, after = counter.call("slow_add", 1), counter.stop(), counter.call("add", 1)
            assert await before == 1
            await stop
            with pytest.raises(EngineError, match="stopped"):
                await after
            assert await runtime.spawn(Counter, 7, name="counter").call("add", 1) == 8  # the name is free again

    run(test)


def test_names_are_unique_and_found() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter, name="counter")
            assert runtime.find("counter") is counter
            with pytest.raises(UsageError, match="already"):
                runtime.spawn(Counter, name="counter")
            with pytest.raises(UsageError, match='did you mean "counter"'):
                runtime.find("conter")

    run(test)


def test_ask_all_keeps_order_bounds_messages_and_reports_errors_in_place() -> None:
    class Numbered(Counter):
        async def check(self) -> int:
            await asyncio.sleep(0.002 if self.count % 5 == 0 else 0)
            if self.count == 13:
                raise ValueError("thirteen")
            return self.count

    async def test() -> None:
        async with Runtime(in_flight=4) as runtime:
            actors = [runtime.spawn(Numbered, i) for i in range(40)]
            answers = await runtime.ask_all(actors, "check", return_errors=True)
            assert [a if isinstance(a, int) else str(a) for a in answers] == [
                "thirteen" if i == 13 else i for i in range(40)
            ]
            with pytest.raises(ValueError, match="thirteen"):
                await runtime.ask_all(actors, "check")

    run(test)


def test_an_actor_cannot_close_its_runtime() -> None:
    class Closer:
        async def close(self, runtime: Runtime) -> None:
            await runtime.aclose()

    async def test() -> None:
        async with Runtime() as runtime:
            with pytest.raises(UsageError, match="cannot close"):
                await runtime.spawn(Closer).call("close", runtime)

    run(test)


def test_an_actor_that_fails_to_release_is_reported_and_others_are_released() -> None:
    class Bad(Counter):
        async def aclose(self) -> None:
            raise OSError("disk gone")

    async def test() -> None:
        reported: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, facts: reported.append(str(facts["exception"])))
        async with Runtime() as runtime:
            for _ in range(2):
                await runtime.spawn(Bad).call("add", 1)
        assert reported == ["disk gone", "disk gone"]

    run(test)


def test_a_worker_lets_the_loop_run_while_mailboxes_are_full() -> None:
    async def test() -> None:
        async with Runtime(in_flight=1) as runtime:
            counter = runtime.spawn(Counter)
            sent = [counter.call("add", 1) for _ in range(2000)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert 0 < sum(result.done() for result in sent) < 2000
            await runtime.drain()
            assert all(result.done() for result in sent)

    run(test)


def test_an_idle_actor_holds_no_queue_and_nothing_keeps_a_handled_message() -> None:
    async def test() -> None:
        async with Runtime() as runtime:
            counter = runtime.spawn(Counter)
            handled = weakref.ref(counter.call("add", 1))
            await runtime.drain()
            assert counter.mailbox is None
            gc.collect()
            assert handled() is None

    run(test)
