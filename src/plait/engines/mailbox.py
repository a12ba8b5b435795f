"""The near end of an actor: a queue of calls and a thread that hands them over one by one.

Both engines use it, so order, restarts and failures are the same on both; they differ only in the `Place`
where an actor lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from plait.engines.wire import outcome, pack
from plait.errors import EngineError, PlaitError


class Died(Exception):
    """The process of an actor or worker is gone; the text says how it ended."""


class Place(Protocol):
    """One process that hosts one actor."""

    def alive(self) -> bool:
        """Whether it can be handed a call."""
        ...

    def exchange(self, message: bytes) -> bytes:
        """Hand over a packed ``(method, args)`` and wait for the reply.

        Raises:
            Died: The process ended before it replied.
        """
        ...

    def kill(self) -> None:
        """End it now, from any thread, also during an exchange."""
        ...

    def leave(self) -> None:
        """End it in good order; only between exchanges."""
        ...


@dataclass(frozen=True)
class _Call:
    method: str
    message: bytes
    future: Future[Any]


class Mailbox:
    """An `ActorHandle` over any `Place`.

    Args:
        name: The actor's class, for errors.
        settle: Starts the process and builds the actor in it; called again for each restart.
        restarts: How often.
    """

    def __init__(self, name: str, settle: Callable[[], Place], *, restarts: int = 0) -> None:
        self._name = name
        self._settle = settle
        self._restarts_left = restarts
        self._inbox: SimpleQueue[_Call | None] = SimpleQueue()
        self._place: Place | None = None
        self._busy = False
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"mailbox of {name}", daemon=True)
        self._thread.start()

    def call(self, method: str, *args: Any) -> Future[Any]:
        """See `plait.engines.base.ActorHandle.call`."""
        message = pack((method, args), what=f"the arguments of {self._name}.{method}")
        call = _Call(method, message, Future())
        with self._lock:
            if self._stopped:
                call.future.set_exception(self._stopped_error(method))
            else:
                self._inbox.put(call)
        return call.future

    def stop(self) -> None:
        """See `plait.engines.base.ActorHandle.stop`."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._inbox.put(None)
                if self._busy and self._place is not None:
                    self._place.kill()
        self._thread.join()

    def _work(self) -> None:
        """The thread: from the first call to the last, then the end of the process."""
        try:
            self._move_in()
        except PlaitError as error:
            self._refuse_all(error)
            return
        while (call := self._inbox.get()) is not None:
            if self._stopped:
                call.future.set_exception(self._stopped_error(call.method))
            elif call.future.set_running_or_notify_cancel():
                self._deliver(call)
        if self._place is not None:
            self._place.leave()

    def _deliver(self, call: _Call) -> None:
        what = f"{self._name}.{call.method}"
        try:
            call.future.set_result(outcome(self._exchange(call.message), what=what, code="engine.call-failed"))
        except Died as died:
            error = self._stopped_error(call.method) if self._stopped else self._died_error(what, died)
            call.future.set_exception(error)
        except PlaitError as error:
            call.future.set_exception(error)

    def _exchange(self, message: bytes) -> bytes:
        if self._place is not None and not self._place.alive():
            self._move_out()
        if self._place is None:
            if self._restarts_left <= 0:
                raise Died("its process had ended before this call")
            self._restarts_left -= 1
            self._move_in()
        with self._lock:
            place, self._busy = self._place, True
            if self._stopped or place is None:
                self._busy = False
                raise Died("it was stopped")
        try:
            return place.exchange(message)
        except Died:
            self._move_out()
            raise
        finally:
            with self._lock:
                self._busy = False

    def _move_in(self) -> None:
        place = self._settle()
        with self._lock:
            self._place = place

    def _move_out(self) -> None:
        with self._lock:
            place, self._place = self._place, None
        if place is not None:
            place.leave()

    def _refuse_all(self, error: PlaitError) -> None:
        """The process could not even be started: that is the answer to every call."""
        while (call := self._inbox.get()) is not None:
            call.future.set_exception(error)

    def _died_error(self, what: str, died: Died) -> EngineError:
        left = self._restarts_left
        return EngineError(
            f"the process of actor {self._name} died during {what}: {died}",
            code="engine.actor-died",
            hint=f"later calls go to a new one ({left} restarts left)"
            if left > 0
            else "start the actor with restarts=… if it may be built anew",
        )

    def _stopped_error(self, method: str) -> EngineError:
        return EngineError(
            f"actor {self._name} was stopped before {method} was done",
            code="engine.actor-stopped",
            hint="wait for results before stopping an actor or closing its engine",
        )
