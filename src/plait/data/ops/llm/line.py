"""An opened chat model that threads share: questions of a batch are asked at once, on one event loop per process.

Chat models belong to an event loop; operations run in threads. So the loop has a thread of its own, and the models
that operations ask live on it. Equal settings share a model, so ten operations that ask ``local`` load it once.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from plait.data.batch import session
from plait.data.op import Op
from plait.llm import ChatComponent, ChatModel, ChatSetting

T = TypeVar("T")


class Line:
    """A chat model and the loop it answers on.

    Args:
        model: An opened model.
    """

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="plait-llm", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives; any number of threads may wait at the same time."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Release the model; nothing can be asked afterwards."""
        if self._loop.is_running():
            self.run(self.model.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)


class _Shared(Op):
    """Stands for a chat model among what a process has opened."""

    chat: ChatSetting


def line_to(chat: ChatComponent) -> Line:
    """The process's line to a chat model, opened at the first call."""
    return session(_Shared(chat=chat), lambda: Line(chat.open()))
