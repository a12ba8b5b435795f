from __future__ import annotations

import asyncio

import pytest

from plait.agents import Address, Environment, Event, Runtime, event
from plait.errors import UsageError


class Auction(Environment):
    price = 0

    @event
    async def bid(self, amount: int) -> bool:
        before = self.price
        await asyncio.sleep(0)
        if amount < 0:
            raise ValueError("negative")
        if amount <= before:
            return False
        self.price = amount
        return True

    @event
    async def close(self) -> int:
        return self.price


class Bidder:
    """Raises the price by one whenever somebody else's bid won, up to its limit."""

    def __init__(self, auction: Address, limit: int) -> None:
        self.auction = auction
        self.limit = limit
        self.heard: list[Event] = []

    async def on_bid(self, happened: Event) -> None:
        self.heard.append(happened)
        [amount] = happened.arguments
        if happened.result and amount < self.limit:
            self.auction.call("bid", amount + 1)

    async def on_close(self, happened: Event) -> None:
        raise RuntimeError("cannot pay")

    async def all_heard(self) -> list[Event]:
        return self.heard


def test_listeners_hear_events_in_order_and_may_call_back_without_a_deadlock() -> None:
    async def main() -> None:
        async with Runtime(in_flight=1) as runtime:
            auction = runtime.spawn(Auction)
            low, high = runtime.spawn(Bidder, auction, 5), runtime.spawn(Bidder, auction, 8)
            await auction.call("listen", "bid", low, "on_bid")
            await auction.call("listen", "bid", high, "on_bid")
            assert await auction.call("bid", 1)
            await runtime.drain()
            assert await auction.call("close") == 8
            heard = await high.call("all_heard")
            assert heard == await low.call("all_heard")
            assert [e for e in heard if e.result] == [Event("bid", (n,), True) for n in range(1, 9)]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_failing_listener_disturbs_nobody_and_is_known() -> None:
    async def main() -> None:
        async with Runtime() as runtime:
            auction = runtime.spawn(Auction)
            await auction.call("listen", "close", runtime.spawn(Bidder, auction, 0), "on_close")
            assert await auction.call("close") == 0
            await runtime.drain()
            assert [str(e) for e in await auction.call("failures")] == ["cannot pay"]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_call_that_raises_is_no_event_and_unlisten_ends_it() -> None:
    async def main() -> None:
        async with Runtime() as runtime:
            auction = runtime.spawn(Auction)
            bidder = runtime.spawn(Bidder, auction, 0)
            await auction.call("listen", "bid", bidder, "on_bid")
            with pytest.raises(ValueError, match="negative"):
                await auction.call("bid", -1)
            await auction.call("bid", 2)
            await auction.call("unlisten", "bid", bidder)
            await auction.call("bid", 3)
            await runtime.drain()
            assert await bidder.call("all_heard") == [Event("bid", (2,), True)]

    asyncio.run(asyncio.wait_for(main(), 10))


def test_unknown_events_and_double_listening_are_refused() -> None:
    async def main() -> None:
        async with Runtime() as runtime:
            auction = runtime.spawn(Auction)
            bidder = runtime.spawn(Bidder, auction, 0)
            with pytest.raises(UsageError, match='did you mean "bid"'):
                await auction.call("listen", "bids", bidder, "on_bid")
            await auction.call("listen", "bid", bidder, "on_bid")
            with pytest.raises(UsageError, match="already listens"):
                await auction.call("listen", "bid", bidder, "on_bid")

    asyncio.run(asyncio.wait_for(main(), 10))
