"""One spawned process of this machine that hosts an object; the local engine's workers and actors."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.connection import wait

from plait.engines.host import BUILD, CALL, serve
from plait.engines.mailbox import Died
from plait.errors import EngineError

_PATIENCE_S = 5.0  # for an idle process to end by itself before it is killed


class Child:
    """A process that builds the object of a packed ``(cls, args)`` and answers calls; a `Place` for an actor.

    Args:
        plan: What to build.
        threads: How many threads numerical libraries may use in it.

    Raises:
        EngineError: The process cannot be started.
    """

    def __init__(self, plan: bytes, *, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        # Not a daemon: what runs in it may start processes of its own, e.g. data loader workers.
        self._process = context.Process(target=serve, args=(far_end, threads), name="plait-worker")
        try:
            self._process.start()
        # multiprocessing raises RuntimeError when the main script starts work at import.
        except (OSError, RuntimeError) as error:
            self.pipe.close()
            raise EngineError(
                f"a worker process cannot be started: {str(error).strip()}",
                code="engine.cannot-start",
                hint='put the code of your script under `if __name__ == "__main__":`, or use fewer workers',
            ) from error
        finally:
            # The pipe must read as closed here as soon as the child is gone.
            far_end.close()
        self.sentinel = self._process.sentinel
        self.build(plan)

    def build(self, plan: bytes) -> None:
        """Replace the hosted object; whatever goes wrong is told by the next call."""
        # If it has died, the next call finds out, and says how.
        with suppress(Died):
            self._write(BUILD, plan)

    def alive(self) -> bool:
        """Whether the process is running."""
        # By the sentinel: is_alive() is mistaken where other code has already waited for our children.
        return not wait([self.sentinel], timeout=0)

    def exchange(self, message: bytes) -> bytes:
        """Hand over a call and wait for the reply.

        Raises:
            Died: The process ended before it replied.
        """
        self.send(message)
        return self.receive()

    def send(self, message: bytes) -> None:
        """Hand over a packed ``(method, args)``.

        Raises:
            Died: The process has ended.
        """
        self._write(CALL, message)

    def receive(self) -> bytes:
        """Wait for the reply to what was sent.

        Raises:
            Died: The process ended before it replied.
        """
        # The sentinel as well as the pipe: a grandchild may keep the pipe open when the worker is gone.
        ready = wait([self.pipe, self.sentinel])
        if self.pipe not in ready and not self.pipe.poll():
            raise Died(self._fate())
        try:
            return self.pipe.recv_bytes()
        except (EOFError, OSError) as error:
            raise Died(self._fate()) from error

    def kill(self) -> None:
        """End it now; safe from any thread."""
        if self.alive():
            self._process.kill()

    def leave(self) -> None:
        """Close the pipe, at which an idle process ends; wait for it, and kill it if it does not."""
        self.pipe.close()
        self._process.join(_PATIENCE_S)
        if self.alive():
            self._process.kill()
            self._process.join()

    def _write(self, kind: bytes, content: bytes) -> None:
        try:
            self.pipe.send_bytes(kind)
            self.pipe.send_bytes(content)
        except OSError as error:
            raise Died(self._fate()) from error

    def _fate(self) -> str:
        """How it ended, in words."""
        self._process.join(_PATIENCE_S)
        status = self._process.exitcode
        if status is None:
            return "it closed its connection"
        if status >= 0:
            return f"it exited with status {status}"
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        cause = ", often for lack of memory" if name == "SIGKILL" else ""
        return f"it was ended by {name}{cause}"


def ready(children: Iterable[Child]) -> list[Child]:
    """Wait until at least one of the busy children has replied or died; those that have."""
    waiting = list(children)
    events = set(wait([thing for child in waiting for thing in (child.pipe, child.sentinel)]))
    return [child for child in waiting if child.pipe in events or child.sentinel in events]
