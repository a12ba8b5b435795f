"""An environment: state that many agents share, kept by one actor, whose changes are events.

    class Auction(Environment):
        price = 0

        @event
        async def bid(self, amount: int) -> bool:
            if amount <= self.price:
                return False
            self.price = amount
            return True

    auction = runtime.spawn(Auction)
    await auction.call("listen", "bid", buyer, "on_bid")    # buyer.on_bid(Event) from now on

Because an environment is an actor, it needs no lock: bids are handled one after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from plait.errors import UsageError, nearest

if TYPE_CHECKING:
    from plait.agents.actor import Address
    from plait.agents.mailbox import Result

_P = ParamSpec("_P")
_R = TypeVar("_R")
_E = TypeVar("_E", bound="Environment")

_MARK = "plait_event"


@dataclass(frozen=True)
class Event:
    """Something that happened in an environment.

    Args:
        name: The method that was called.
        arguments: Its positional arguments.
        result: What it returned.
    """

    name: str
    arguments: tuple[Any, ...]
    result: Any


class Environment:
    """Base of environments. Methods marked with `event` are told to listeners after they return.

    Example:
        >>> class Room(Environment):
        ...     said: list[str] = []
        ...
        ...     @event
        ...     async def say(self, text: str) -> None:
        ...         self.said = [*self.said, text]
        >>> Room.events()
        ['say']
    """

    def __init__(self) -> None:
        self._listeners: dict[str, list[tuple[Address, str]]] = {}
        self._failures: list[BaseException] = []

    @classmethod
    def events(cls) -> list[str]:
        """The names of the events that can be listened to."""
        return sorted(name for name in dir(cls) if getattr(getattr(cls, name), _MARK, False))

    async def listen(self, name: str, listener: Address, method: str) -> None:
        """Send ``method(Event)`` to an actor after each event of that name; in the order of listening.

        Telling a listener does not wait for it: it may in turn call the environment.

        Raises:
            UsageError: There is no such event, or the same listener is already there.
        """
        if name not in self.events():
            raise UsageError(
                f'{type(self).__name__} has no event "{name}"',
                code="agents.unknown-event",
                hint=nearest(name, self.events()),
            )
        listeners = self._listeners.setdefault(name, [])
        if (listener, method) in listeners:
            raise UsageError(f'{listener!r}.{method} already listens to "{name}"', code="agents.listening-twice")
        listeners.append((listener, method))

    async def unlisten(self, name: str, listener: Address) -> None:
        """Tell that actor no more."""
        self._listeners[name] = [one for one in self._listeners.get(name, []) if one[0] is not listener]

    async def failures(self) -> list[BaseException]:
        """Errors that listeners raised so far; they disturb neither the environment nor who called it."""
        return list(self._failures)

    def announce(self, happened: Event) -> None:
        """Send an event to its listeners. Methods marked with `event` do so by themselves."""
        for listener, method in self._listeners.get(happened.name, []):
            listener.call(method, happened).when_done(self._told)

    def _told(self, done: Any) -> None:
        result = cast("Result", done)
        error = None if result.cancelled() else result.exception()
        if error is not None:
            self._failures.append(error)


def event(
    method: Callable[Concatenate[_E, _P], Awaitable[_R]],
) -> Callable[Concatenate[_E, _P], Awaitable[_R]]:
    """Mark an async method of an environment: each call that returns is an event of its name.

    A call that raises changed nothing worth telling, and is no event.
    """

    @functools.wraps(method)
    async def told(self: _E, *arguments: _P.args, **named: _P.kwargs) -> _R:
        result = await method(self, *arguments, **named)
        self.announce(Event(method.__name__, (*arguments, *named.values()), result))
        return result

    setattr(told, _MARK, True)
    return told
