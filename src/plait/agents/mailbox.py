"""A message that is its own answer, and the queue it waits in.

One object per message: the mailbox links messages to each other, so an idle actor holds no queue, and the
caller's future is the message itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import Context, ContextVar
from typing import TYPE_CHECKING, Any

from plait.errors import EngineError

if TYPE_CHECKING:
    from plait.agents.actor import Address

running_actor: ContextVar[Address | None] = ContextVar("running_actor", default=None)
"""The actor whose method runs in this context, if any."""


class Result(asyncio.Future[Any]):
    """A message on its way and, later, its answer. Await it, cancel it, or pass it to another call.

    Args:
        target: The actor it goes to.
        method: The method it calls.
        arguments: Its arguments, with futures not yet replaced by their results.
        loop: The runtime's event loop.
    """

    __slots__ = ("arguments", "method", "needs", "next", "target")

    def __init__(
        self, target: Address, method: str, arguments: Sequence[object], *, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.target = target
        self.method = method
        self.arguments = arguments
        self.needs: set[asyncio.Future[Any]] | None = None  # dependencies not done yet
        self.next: Result | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the answer.

        Raises:
            EngineError: An actor would wait for itself, directly or through others, for ever.
        """
        waiter = running_actor.get()
        if waiter is None or self.done() or waiter.runtime.task_of(waiter) is not asyncio.current_task():
            return super().__await__()
        return self._await_as(waiter)

    def _await_as(self, waiter: Address) -> Generator[Any, None, Any]:
        refuse_cycle(waiter, self)
        waiter.awaited = self
        try:
            return (yield from super().__await__())
        finally:
            waiter.awaited = None

    def add_done_callback(
        self, fn: Callable[[asyncio.Future[Any]], object], /, *, context: Context | None = None
    ) -> None:
        """As `asyncio.Future.add_done_callback`; an actor that waits so gives its place in the window."""
        # Awaiting, gather and wait all come through here. A method that waits for another actor must not use
        # up the window, or the actor it waits for might never get its turn.
        waiter = running_actor.get()
        if waiter is not None and not self.done():
            runtime = waiter.runtime
            runtime.park(waiter)
            super().add_done_callback(lambda _: runtime.unpark(waiter))
        super().add_done_callback(fn, context=context)

    def when_done(self, fn: Callable[[asyncio.Future[Any]], object]) -> None:
        """Call back without counting as a wait: for the runtime itself."""
        super().add_done_callback(fn)


class Mailbox:
    """First in, first out, of one actor."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._first: Result | None = None
        self._last: Result | None = None

    def __bool__(self) -> bool:
        return self._first is not None

    def put(self, message: Result) -> None:
        """Add at the end."""
        if self._last is None:
            self._first = message
        else:
            self._last.next = message
        self._last = message

    def take(self) -> Result:
        """Remove the first.

        Raises:
            IndexError: It is empty.
        """
        message = self._first
        if message is None:
            raise IndexError("take from an empty mailbox")
        self._first = message.next
        if self._first is None:
            self._last = None
        message.next = None
        return message


def refuse_cycle(waiter: Address, result: Result) -> None:
    """Raise if the answer can only come after ``waiter`` has finished what it is doing now.

    Raises:
        EngineError: It waits for itself, directly or through others.
    """
    seen: set[Address] = set()
    to_visit = [result]
    while to_visit:
        for target in _blockers(to_visit.pop()):
            if target is waiter:
                raise EngineError(
                    f"{waiter!r} would wait for ever: the answer of {result.target!r}.{result.method} needs "
                    f"{waiter!r} to handle another message first",
                    code="agents.wait-cycle",
                    hint="send the message without awaiting it, or let a third actor ask both",
                )
            if target not in seen:
                seen.add(target)
                if target.awaited is not None:
                    to_visit.append(target.awaited)


def _blockers(result: Result) -> Iterator[Address]:
    """The actors that must handle something before the result is there: its target, and its needs'."""
    pending = [result]
    while pending:
        message = pending.pop()
        if message.done():
            continue
        yield message.target
        pending.extend(need for need in message.needs or () if isinstance(need, Result))
