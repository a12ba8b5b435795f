"""The runtime: delivers messages to actors, one at a time per actor, many actors at once, in one event loop.

    async with Runtime(in_flight=1000) as runtime:
        counter = runtime.spawn(Counter, name="counter")
        total = await counter.call("add", 1)

Actors are passive records. A message puts its actor into the ready queue; a bounded number of workers (plain
tasks that exist only while there is work) take actors from it, run one method to its end, and push the answer
to whoever waits.

    send ──dependencies done──▶ mailbox ──▶ ready queue ──▶ worker runs the method ──▶ the answer is pushed
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from plait.agents.actor import Actor, Address, Closable, Supervision
from plait.agents.mailbox import Mailbox, Result, running_actor
from plait.errors import EngineError, UsageError, nearest

_TURNS_BEFORE_YIELD = 64  # messages a worker handles before it lets timers and sockets have the loop


class Runtime:
    """Runs actors in the current event loop. Use it as an async context manager.

    Leaving the ``async with`` block waits until every message sent is answered; leaving it by an exception
    stops at once. Neither leaves a task behind.

    Args:
        in_flight: Methods that may be running (or waiting for a model, a timer, a socket) at the same time. A
            method that waits for another actor does not count, so a small window cannot lock actors out.

    Example:
        >>> class Adder:
        ...     total = 0
        ...
        ...     async def add(self, amount: int) -> int:
        ...         self.total += amount
        ...         return self.total
        >>> async def main() -> int:
        ...     async with Runtime() as runtime:
        ...         adder = runtime.spawn(Adder)
        ...         first = adder.call("add", 1)
        ...         return await adder.call("add", first)  # a future as an argument: runs once it is done
        >>> asyncio.run(main())
        2
    """

    def __init__(self, *, in_flight: int = 1000) -> None:
        if in_flight < 1:
            raise UsageError(f"in_flight = {in_flight}: at least one method must run", code="agents.in-flight")
        self.in_flight = in_flight
        self._loop = asyncio.get_running_loop()
        self._named: dict[str, Address] = {}
        self._ready: deque[Address] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._running: dict[Address, asyncio.Task[None]] = {}
        self._parked = 0
        self._unanswered = 0
        self._with_needs: set[Result] = set()
        self._closables: dict[Address, Closable] = {}
        self._drained: list[asyncio.Future[None]] = []
        self._closed = False

    def spawn(
        self,
        factory: Callable[..., Actor],
        *arguments: object,
        name: str | None = None,
        supervision: Supervision = Supervision(),  # noqa: B008 - frozen, so sharing one is safe
    ) -> Address:
        """Give an actor an address; it is built when its first message is handled.

        Args:
            factory: The actor's class, or any function that builds one; called again for a restart.
            arguments: What the factory is called with.
            name: Unique in this runtime; `find` returns the address for it.
            supervision: What happens after an error.

        Raises:
            UsageError: The name is taken.
            EngineError: The runtime is closed.
        """
        self._refuse_if_closed()
        address = Address(self, name=name, factory=factory, arguments=arguments, supervision=supervision)
        if name is not None:
            if name in self._named:
                raise UsageError(f'an actor named "{name}" is already here', code="agents.name-taken")
            self._named[name] = address
        return address

    def find(self, name: str) -> Address:
        """The address of a named actor.

        Raises:
            UsageError: There is none.
        """
        if name not in self._named:
            raise UsageError(f'no actor is named "{name}"', code="agents.unknown", hint=nearest(name, self._named))
        return self._named[name]

    def send(self, address: Address, method: str, arguments: Sequence[object]) -> Result:
        """What `Address.call` does: deliver now, or once all futures among the arguments are done."""
        self._refuse_if_closed()
        result = Result(address, method, arguments, loop=self._loop)
        self._unanswered += 1
        needs = {argument for argument in arguments if isinstance(argument, asyncio.Future)}
        if needs:
            result.needs = needs
            self._with_needs.add(result)
            for need in list(needs):
                wake = partial(self._need_done, result)
                if isinstance(need, Result):
                    need.when_done(wake)
                else:
                    need.add_done_callback(wake)
        else:
            self._deliver(result)
        return result

    async def ask_all(
        self,
        addresses: Iterable[Address],
        method: str,
        *arguments: object,
        return_errors: bool = False,
        on_answer: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Ask many actors the same; the answers come in the order of the addresses.

        Messages are made as the window allows, so asking a million actors does not hold a million messages.

        Args:
            addresses: Whom to ask.
            method: The method called on each.
            arguments: The same for each.
            return_errors: Put the exception in the place of an answer, rather than raise the first of them.
            on_answer: Told how many answers are in, in order, each time one more is.
        """
        answers: list[Any] = []
        pending: deque[Result] = deque()

        async def take() -> None:
            result = pending.popleft()
            try:
                answers.append(await result)
            except Exception as error:
                if not return_errors:
                    for rest in pending:
                        rest.cancel()
                    raise
                answers.append(error)
            if on_answer is not None:
                on_answer(len(answers))

        for address in addresses:
            while pending and (pending[0].done() or len(pending) >= 2 * self.in_flight):
                await take()
            pending.append(address.call(method, *arguments))
        while pending:
            await take()
        return answers

    async def drain(self) -> None:
        """Wait until every message sent so far, and every message those cause, is answered."""
        if self._unanswered:
            waiter = self._loop.create_future()
            self._drained.append(waiter)
            await waiter

    async def aclose(self) -> None:
        """Stop at once: running methods are cancelled, waiting messages fail, actors release what they hold.

        Raises:
            UsageError: Called by an actor of this runtime, which would wait for its own end.
        """
        if asyncio.current_task() in self._workers:
            raise UsageError("an actor cannot close the runtime that runs it", code="agents.close-from-inside")
        self._closed = True
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        while self._ready:
            self._fail_mailbox(self._ready.popleft(), self._closed_error())
        for result in list(self._with_needs):
            self._with_needs.discard(result)
            self._answer(result, error=self._closed_error())
        for address in list(self._closables):
            await self._release(address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.drain()
        finally:
            await self.aclose()

    # What messages and workers do.

    def task_of(self, address: Address) -> asyncio.Task[None] | None:
        """The worker that runs a method of this actor now."""
        return self._running.get(address)

    def park(self, address: Address) -> None:
        """The actor's method waits for another actor: let one more worker in."""
        address.waits += 1
        if address.waits == 1:
            self._parked += 1
            self._add_worker()

    def unpark(self, address: Address) -> None:
        """One of the answers is there."""
        address.waits -= 1
        if address.waits == 0:
            self._parked -= 1

    def _need_done(self, result: Result, need: asyncio.Future[Any]) -> None:
        if result not in self._with_needs:
            return  # settled already, by another of its needs or by the runtime closing
        needs = cast("set[asyncio.Future[Any]]", result.needs)
        needs.discard(need)
        if need.cancelled() or need.exception() is not None:
            self._with_needs.discard(result)
            if need.cancelled():
                result.cancel()
                self._answer(result)
            else:
                self._answer(result, error=need.exception())
        elif not needs:
            self._with_needs.discard(result)
            result.arguments = [a.result() if isinstance(a, asyncio.Future) else a for a in result.arguments]
            self._deliver(result)

    def _deliver(self, result: Result) -> None:
        address = result.target
        if address.stopped:
            self._answer(result, error=_stopped_error(address))
            return
        if address.mailbox is None:
            address.mailbox = Mailbox()
        address.mailbox.put(result)
        if not address.scheduled:
            address.scheduled = True
            self._ready.append(address)
            self._add_worker()

    def _add_worker(self) -> None:
        if self._ready and len(self._workers) < self.in_flight + self._parked and not self._closed:
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)

    async def _work(self) -> None:
        """Handle messages until none is ready."""
        task = cast("asyncio.Task[None]", asyncio.current_task())
        turns = 0
        try:
            while self._ready and len(self._workers) <= self.in_flight + self._parked:
                address = self._ready.popleft()
                mailbox = cast("Mailbox", address.mailbox)
                result = mailbox.take()
                self._running[address] = task
                try:
                    if not result.done():  # its caller may have cancelled it
                        await self._handle(address, result)
                finally:
                    del self._running[address]
                    self._answer(result)
                    if mailbox and not address.stopped:
                        self._ready.append(address)  # at the end: actors take turns
                    else:
                        address.mailbox = None
                        address.scheduled = False
                turns += 1
                if turns % _TURNS_BEFORE_YIELD == 0:
                    await asyncio.sleep(0)
        finally:
            self._workers.discard(task)
            self._add_worker()

    async def _handle(self, address: Address, result: Result) -> None:
        """Run one method and settle its result, whatever comes of it."""
        running_actor.set(address)
        try:
            if not result.method:
                await self._stop(address)
                result.set_result(None)
                return
            answer = _method(address, self._built(address), result.method)(*result.arguments)
            if inspect.isawaitable(answer):
                answer = await answer
            if not result.done():
                result.set_result(answer)
        except asyncio.CancelledError:
            result.cancel()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the runtime closes; otherwise only something the method awaited was cancelled
        except Exception as error:  # noqa: BLE001 - whatever an actor raises belongs to its caller
            _fail(result, error)
            if not isinstance(error, _NoSuchMethod):
                await self._supervise(address)

    def _built(self, address: Address) -> Actor:
        if address.actor is None:
            address.actor = address.factory(*address.arguments)
            if callable(getattr(address.actor, "aclose", None)):
                self._closables[address] = cast("Closable", address.actor)
        return address.actor

    async def _supervise(self, address: Address) -> None:
        policy = address.supervision
        if policy.on_error == "restart" and address.restarts < policy.max_restarts:
            address.restarts += 1
            await self._release(address)
        elif policy.on_error != "keep":
            await self._stop(address)

    async def _stop(self, address: Address) -> None:
        address.stopped = True
        if address.name is not None:
            self._named.pop(address.name, None)
        self._fail_mailbox(address, _stopped_error(address))
        await self._release(address)

    async def _release(self, address: Address) -> None:
        address.actor = None
        closable = self._closables.pop(address, None)
        if closable is not None:
            try:
                await closable.aclose()
            except Exception as error:  # noqa: BLE001 - nobody awaits this: report it as asyncio does, end the others
                self._loop.call_exception_handler(
                    {"message": f"{address!r} failed to release what it holds", "exception": error}
                )

    def _fail_mailbox(self, address: Address, error: EngineError) -> None:
        mailbox = address.mailbox
        while mailbox:
            self._answer(mailbox.take(), error=error)

    def _answer(self, result: Result, *, error: BaseException | None = None) -> None:
        """Count a message as answered; called once for each."""
        if error is not None:
            _fail(result, error)
        result.arguments = ()
        self._unanswered -= 1
        if not self._unanswered:
            drained, self._drained = self._drained, []
            for waiter in drained:
                if not waiter.done():
                    waiter.set_result(None)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> EngineError:
        return EngineError(
            "the runtime is closed, and handles no more messages",
            code="agents.closed",
            hint='await the answers inside the "async with" block',
        )


class _NoSuchMethod(UsageError):
    """The caller's mistake, not the actor's: no reason to restart it."""


def _method(address: Address, actor: Actor, name: str) -> Callable[..., Any]:
    method = None if name.startswith("_") else getattr(actor, name, None)
    if not callable(method):
        known = [n for n in dir(actor) if not n.startswith("_") and callable(getattr(actor, n, None))]
        raise _NoSuchMethod(f'{address!r} has no method "{name}"', code="agents.no-method", hint=nearest(name, known))
    return cast("Callable[..., Any]", method)


def _fail(result: Result, error: BaseException) -> None:
    if isinstance(error, StopIteration):
        # A future cannot carry it: it would end whatever loop awaits the future.
        cause, error = error, RuntimeError(f"an actor raised StopIteration({error.value!r})")
        error.__cause__ = cause
    if not result.done():
        result.set_exception(error)


def _stopped_error(address: Address) -> EngineError:
    return EngineError(f"{address!r} has stopped, and handles no more messages", code="agents.stopped")
