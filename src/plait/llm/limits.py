"""One limiter for all calls: requests and tokens per minute, calls at once, and total budgets.

    limits = Limits(requests_per_minute=500, concurrent=32, max_money=5.0)
    fast, strong = Endpoint(..., limits=limits), Endpoint(..., limits=limits)   # share one budget

Kept libraries were looked at first. aiolimiter serves the smallest waiting amount first, so a large call starves
beside small ones; it cannot correct an estimate once the true amount is known; it belongs to one event loop and reads
that loop's clock. A token bucket, its rule, also lets twice the rate through within one minute after an idle one. Here
a window of the last 60 s never holds more than the rate, calls are admitted in order, and estimates are settled.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, Self

from pydantic import Field

from plait.core.component import Component
from plait.errors import LimitReached

_MINUTE_S = 60.0


class Limits(Component):
    """What the calls of a model may use. Several models given the same object share it; ``None`` is no limit.

    Example:
        >>> limits = Limits(concurrent=8)
        >>> limits.limiter is limits.limiter, limits == Limits(concurrent=8)
        (True, True)
    """

    requests_per_minute: int | None = Field(default=None, gt=0)
    """Most requests that start within any 60 seconds, retries included."""

    tokens_per_minute: int | None = Field(default=None, gt=0)
    """Most tokens, prompt and completion, within any 60 seconds; a call holds its estimate until its usage is known."""

    concurrent: int | None = Field(default=None, gt=0)
    """Most requests in flight at once."""

    max_requests: int | None = Field(default=None, ge=0)
    """Requests allowed in all, retries included."""

    max_tokens: int | None = Field(default=None, ge=0)
    """Tokens allowed in all, prompt and completion."""

    max_money: float | None = Field(default=None, ge=0)
    """Money allowed in all, in the currency of the models' prices."""

    @cached_property
    def limiter(self) -> Limiter:
        """The live limiter of this object, made on first use. Copies and other processes have their own."""
        return Limiter(self)

    def __copy__(self) -> Self:
        return self.model_validate(self.model_dump(exclude_unset=True))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self.__copy__()

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        settings = {name: value for name, value in state["__dict__"].items() if name != "limiter"}
        return state | {"__dict__": settings}


class Prices(Component):
    """What a model costs, in any one currency.

    Example:
        >>> Prices(prompt_per_million=0.5, completion_per_million=2.0).of(1000, 500)
        0.0015
    """

    prompt_per_million: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens."""

    completion_per_million: float = Field(default=0.0, ge=0)
    """Price of a million completion tokens."""

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of so many tokens."""
        return (self.prompt_per_million * prompt_tokens + self.completion_per_million * completion_tokens) / 1e6


class Clock(Protocol):
    """The time a limiter lives by; tests bring their own."""

    def now(self) -> float:
        """Seconds since any fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when that many seconds have passed."""
        ...


class MonotonicClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since boot or another fixed moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep without holding the event loop."""
        await asyncio.sleep(seconds)


@dataclass
class Spent:
    """A running account: what was used for good, and what calls in flight may still use."""

    requests: int = 0
    tokens: int = 0
    money: float = 0.0
    reserved_tokens: int = 0
    reserved_money: float = 0.0
    in_flight: int = 0


@dataclass(eq=False)
class Ticket:
    """The right to send one request. `settle` replaces its estimates by what was truly used."""

    tokens: int
    money: float
    settled: bool = False

    def settle(self, *, tokens: int, money: float) -> None:
        """Say what the request used; without it a finished request counts as having used nothing."""
        self.tokens, self.money, self.settled = tokens, money, True


@dataclass(eq=False)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class Limiter:
    """Admits requests in order of arrival, across threads and event loops.

    A budget holds as far as estimates do: a request is admitted only when its estimate fits what is left after all that
    is spent and all that is in flight, so an overrun is at most the error of the estimates in flight.

    Args:
        limits: What is allowed.
        clock: The time to live by.
    """

    def __init__(self, limits: Limits, *, clock: Clock | None = None) -> None:
        self.limits = limits
        self.spent = Spent()
        self.clock = clock or MonotonicClock()
        self._requests = _Window(limits.requests_per_minute)
        self._tokens = _Window(limits.tokens_per_minute)
        self._paused_until = -math.inf
        self._queue: deque[_Waiter] = deque()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def admit(self, *, tokens: int, money: float = 0.0) -> AsyncGenerator[Ticket]:
        """Wait for the turn, then hold one request's share of every limit until the block ends.

        Args:
            tokens: Estimate of the tokens the request will use, from above.
            money: Estimate of its price, from above.

        Raises:
            LimitReached: A total is spent, or the request alone is larger than a limit.
        """
        ticket = Ticket(tokens, money)
        entry = await self._enter(ticket)
        try:
            yield ticket
        finally:
            self._leave(ticket, entry, reserved_tokens=tokens, reserved_money=money)

    def pause(self, seconds: float) -> None:
        """Admit nothing for that long: a server that says ``Retry-After`` to one call means all of them."""
        with self._lock:
            self._paused_until = max(self._paused_until, self.clock.now() + seconds)

    async def _enter(self, ticket: Ticket) -> _Entry:
        waiter = _Waiter(asyncio.get_running_loop())
        with self._lock:
            self._queue.append(waiter)
        try:
            while True:
                with self._lock:
                    waiter.turn.clear()
                    delay = self._delay(ticket) if self._queue[0] is waiter else math.inf
                    if delay <= 0:
                        return self._take(ticket)
                await self._wait(waiter, delay)
        finally:
            with self._lock:
                self._queue.remove(waiter)
                self._wake_first()

    def _delay(self, ticket: Ticket) -> float:
        """Seconds until the first in the queue may go; infinite while only the end of another request can tell."""
        self._check_totals(ticket)
        limits, spent, now = self.limits, self.spent, self.clock.now()
        if limits.concurrent is not None and spent.in_flight >= limits.concurrent:
            return math.inf
        if _over(spent.tokens + spent.reserved_tokens + ticket.tokens, limits.max_tokens) or _over(
            spent.money + spent.reserved_money + ticket.money, limits.max_money
        ):
            return math.inf
        return max(self._paused_until - now, self._requests.delay(now, 1), self._tokens.delay(now, ticket.tokens))

    def _check_totals(self, ticket: Ticket) -> None:
        limits, spent = self.limits, self.spent
        for what, used, wanted, allowed in (
            ("requests", spent.requests, 1, limits.max_requests),
            ("tokens", spent.tokens, ticket.tokens, limits.max_tokens),
            ("money", spent.money, ticket.money, limits.max_money),
        ):
            if allowed is not None and _over(used + wanted, allowed):
                raise LimitReached(
                    f"{used:g} of {allowed:g} {what} are spent and the next call may use {wanted:g}",
                    code="llm.limit-reached",
                    hint=f"raise limits.max_{what}, or ask for fewer or shorter replies",
                )
        if limits.tokens_per_minute is not None and ticket.tokens > limits.tokens_per_minute:
            raise LimitReached(
                f"one call may use {ticket.tokens} tokens, more than tokens_per_minute = {limits.tokens_per_minute}",
                code="llm.call-too-large",
                hint="lower max_tokens or n, shorten the prompt, or raise limits.tokens_per_minute",
            )

    def _take(self, ticket: Ticket) -> _Entry:
        spent, now = self.spent, self.clock.now()
        spent.requests += 1
        spent.in_flight += 1
        spent.reserved_tokens += ticket.tokens
        spent.reserved_money += ticket.money
        self._requests.add(now, 1)
        return self._tokens.add(now, ticket.tokens)

    def _leave(self, ticket: Ticket, entry: _Entry, *, reserved_tokens: int, reserved_money: float) -> None:
        with self._lock:
            spent = self.spent
            spent.in_flight -= 1
            spent.reserved_tokens -= reserved_tokens
            spent.reserved_money -= reserved_money
            if ticket.settled:
                spent.tokens += ticket.tokens
                spent.money += ticket.money
                # A failed request keeps its estimate in the window: the server may have counted it.
                self._tokens.correct(entry, ticket.tokens)
            if spent.in_flight == 0:
                spent.reserved_money = 0.0  # clears the rounding error of many additions
            self._wake_first()

    def _wake_first(self) -> None:
        while self._queue:
            waiter = self._queue[0]
            try:
                waiter.loop.call_soon_threadsafe(waiter.turn.set)
            except RuntimeError:  # its event loop was closed under it, so nobody waits there any more
                self._queue.popleft()
            else:
                return

    async def _wait(self, waiter: _Waiter, delay: float) -> None:
        if math.isinf(delay):
            await waiter.turn.wait()
            return
        waits = [asyncio.ensure_future(self.clock.sleep(delay)), asyncio.ensure_future(waiter.turn.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


@dataclass(eq=False)
class _Entry:
    time: float
    amount: int
    counted: bool = True


class _Window:
    """What was admitted in the last minute; never more than ``most``."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._entries: deque[_Entry] = deque()
        self._sum = 0

    def delay(self, now: float, amount: int) -> float:
        """Seconds until ``amount`` more fits."""
        if self._most is None:
            return 0.0
        while self._entries and self._entries[0].time + _MINUTE_S <= now:
            gone = self._entries.popleft()
            gone.counted = False
            self._sum -= gone.amount
        excess = self._sum + amount - self._most
        if excess <= 0:
            return 0.0
        for entry in self._entries:
            excess -= entry.amount
            if excess <= 0:
                # Never zero: rounding may put the end of the minute at or before ``now``.
                return max(entry.time + _MINUTE_S - now, 1e-6)
        return math.inf

    def add(self, now: float, amount: int) -> _Entry:
        entry = _Entry(now, amount, counted=self._most is not None)
        if entry.counted:
            self._entries.append(entry)
            self._sum += amount
        return entry

    def correct(self, entry: _Entry, amount: int) -> None:
        """Replace an estimate by the truth, while its minute lasts."""
        if entry.counted:
            self._sum += amount - entry.amount
            entry.amount = amount


def _over(amount: float, allowed: float | None) -> bool:
    # Prices are decimal fractions: a budget of 0.3 must admit three calls of 0.1.
    return allowed is not None and amount > allowed * (1 + 1e-12)
