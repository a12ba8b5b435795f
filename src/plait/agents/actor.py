"""What an actor is, and how it is addressed and supervised.

An actor is a passive object: it has no thread and no task of its own. Its methods are what it can be asked,
and the runtime runs them one at a time, so a method may read, wait and write without a lock.

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        async def add(self, amount: int) -> int:
            before = self.count
            await asyncio.sleep(0.1)          # nobody else gets in between
            self.count = before + amount
            return self.count
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol

from plait.core.component import Component

if TYPE_CHECKING:
    from plait.agents.mailbox import Mailbox, Result
    from plait.agents.runtime import Runtime


class Actor(Protocol):
    """Any object: its public methods, async or not, are the messages it understands.

    An actor that holds something to release may also have ``async def aclose(self)``; the runtime calls it
    when the actor stops, is restarted, or the runtime closes.
    """


class Closable(Protocol):
    """An actor that releases something when it ends."""

    async def aclose(self) -> None:
        """Release what the actor holds."""
        ...


class Supervision(Component):
    """What happens to an actor whose method raised. The error itself always goes to the caller."""

    on_error: Literal["keep", "restart", "stop"] = "keep"
    """``keep``: go on with the state as it is. ``restart``: build the actor anew; its state is lost and its
    mailbox kept. ``stop``: the actor ends and its remaining messages fail."""
    max_restarts: int = 3
    """With ``restart``: how often, before the actor is stopped instead."""


class Address:
    """Where one actor's messages go. Cheap: a million of them are some hundred megabytes with their actors.

    Made by `Runtime.spawn`. The fields besides ``name`` are the runtime's bookkeeping.

    Args:
        runtime: Who delivers.
        name: Unique in its runtime when given.
        factory: Builds the actor when its first message is handled, and after a failure.
        arguments: Positional arguments of the factory.
        supervision: What happens after an error.
    """

    __slots__ = (
        "actor",
        "arguments",
        "awaited",
        "factory",
        "mailbox",
        "name",
        "restarts",
        "runtime",
        "scheduled",
        "stopped",
        "supervision",
        "waits",
    )

    def __init__(
        self,
        runtime: Runtime,
        *,
        name: str | None,
        factory: Callable[..., Actor],
        arguments: tuple[object, ...],
        supervision: Supervision,
    ) -> None:
        self.runtime = runtime
        self.name = name
        self.factory = factory
        self.arguments = arguments
        self.supervision = supervision
        self.actor: Actor | None = None
        self.mailbox: Mailbox | None = None  # none while there is no message: most actors, most of the time
        self.scheduled = False  # in the ready queue, or being handled
        self.stopped = False
        self.restarts = 0
        self.awaited: Result | None = None  # what its running method awaits, for finding cycles
        self.waits = 0  # answers of other actors that its running method waits for

    def call(self, method: str, *arguments: object) -> Result:
        """Send a message; its answer is awaited, or passed on as an argument of another call.

        Args:
            method: A public method of the actor.
            arguments: What the method is called with. A future among them is a dependency: the message is
                delivered when it is done, with its result in its place. Until then nothing waits in a thread.

        Raises:
            EngineError: The runtime is closed.
        """
        return self.runtime.send(self, method, arguments)

    def stop(self) -> Result:
        """End the actor after the messages already in its mailbox; later ones fail."""
        return self.runtime.send(self, "", ())

    def __repr__(self) -> str:
        kind = getattr(self.factory, "__name__", type(self.factory).__name__)
        return f"<{kind} {self.name}>" if self.name else f"<{kind} at {id(self):#x}>"
