"""Record a model's answers once, replay them exactly ever after.

    model = Replay(inner=Endpoint(...), path="calls.jsonl").open()

A recorded call costs nothing: no server, no key, no model in memory. Change one prompt and only the calls that change
are paid for.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import filelock

from plait.errors import LLMError, ReplayMiss, UsageError
from plait.llm.base import ChatComponent, ChatModel, JSONSchema, Reply, check_call
from plait.llm.opening import ChatSetting
from plait.llm.recording import Call, Recording, call_key, describe_difference, plain_call
from plait.llm.usage import UsageMeter
from plait.records import Message


class Replay(ChatComponent):
    """Another model behind a recording.

    Equal calls asked again get their own answers, in the order they were recorded. A call that failed is not recorded,
    so a caller who tried again finds the answer in its place.

    Example:
        >>> Replay(inner={"use": "scripted", "answers": ["4"]}, path="calls.jsonl").mode
        'auto'
    """

    inner: ChatSetting
    """The model that answers what is not recorded; it is opened at its first call."""

    path: Path
    """The recording, one JSON line per call."""

    mode: Literal["auto", "record", "replay"] = "auto"
    """``auto`` answers from the recording and asks the inner model otherwise; ``record`` always asks, into a new file;
    ``replay`` never asks."""

    def identity(self) -> str:
        """A recorded model answers as the model itself."""
        return self.inner.identity()

    def open(self) -> ReplayModel:
        """Read the recording.

        Raises:
            UsageError: The file to replay does not exist, or the one to record already holds calls.
            LLMError: The file is damaged, or another process is writing it.
        """
        if self.mode == "replay" and not self.path.is_file():
            raise UsageError(
                "there is no recording to replay",
                code="llm.no-recording",
                where=str(self.path),
                hint='record one with mode "auto"',
            )
        return ReplayModel(self)


class ReplayModel:
    """An opened recording. ``meter.totals.cache_hits`` counts the calls answered from it."""

    def __init__(self, settings: Replay) -> None:
        self.settings = settings
        self.meter = UsageMeter()
        self._identity = settings.inner.identity()
        self._inner: ChatModel | None = None
        self._asked: dict[str, _Numbers] = {}
        self._release = _lock(settings.path) if settings.mode != "replay" else _nothing
        try:
            self.recording = Recording(settings.path, writable=settings.mode != "replay")
            if settings.mode == "record" and len(self.recording):
                raise UsageError(
                    f"the recording already holds {len(self.recording)} calls",
                    code="llm.recording-exists",
                    where=str(settings.path),
                    hint='use mode "auto" to add to it, or another path',
                )
        except BaseException:
            self._release()
            raise

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        seed: int | None = None,
        schema: JSONSchema | None = None,
    ) -> list[Reply]:
        """See `plait.llm.base.ChatModel.chat`.

        Raises:
            ReplayMiss: The call is not recorded and ``mode`` is ``replay``.
            LLMError: The inner model failed.
        """
        check_call(messages, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)
        call = plain_call(
            messages,
            model=self._identity,
            n=n,
            temperature=temperature,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            schema=schema,
        )
        key = call_key(call)
        numbers = self._asked.setdefault(key, _Numbers())
        nth = numbers.take()
        try:
            replies = self.recording.find(key, nth)
            if replies is not None:
                self.meter.count(cache_hits=1)
            elif self.settings.mode == "replay":
                raise self._miss(call, key)
            else:
                replies = await self._ask(
                    messages,
                    n=n,
                    temperature=temperature,
                    max_tokens=max_tokens,
                    stop=stop,
                    seed=seed,
                    schema=schema,
                )
                self.recording.add(key, nth, call, replies)
        except BaseException:
            # Also on cancellation: the number must go to the next equal call, or its answer is never found.
            numbers.give_back(nth)
            raise
        self.meter.answered(replies)
        return replies

    async def aclose(self) -> None:
        """Close the inner model, if it was opened, and let others write the recording."""
        self._release()
        if self._inner is not None:
            await self._inner.aclose()

    async def _ask(
        self,
        messages: Sequence[Message],
        *,
        n: int,
        temperature: float,
        max_tokens: int,
        stop: Sequence[str],
        seed: int | None,
        schema: JSONSchema | None,
    ) -> list[Reply]:
        if self._inner is None:
            self._inner = self.settings.inner.open()
        self.meter.count(requests=1)
        return await self._inner.chat(
            messages, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop, seed=seed, schema=schema
        )

    def _miss(self, call: Call, key: str) -> ReplayMiss:
        times = self.recording.count(key)
        if times:
            what = f"this call is recorded {times} times and was asked once more"
        elif (found := self.recording.nearest(call)) is None:
            what = "the recording is empty"
        else:
            line, recorded = found
            what = (
                f"this call is not recorded; the nearest, line {line}, differs: {describe_difference(call, recorded)}"
            )
        return ReplayMiss(
            what,
            code="llm.replay-miss",
            where=str(self.settings.path),
            hint='use mode "auto" to ask the model and record its answer',
        )


class _Numbers:
    """The numbers of equal calls: the smallest free one first."""

    def __init__(self) -> None:
        self._next = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give_back(self, number: int) -> None:
        heapq.heappush(self._free, number)


def _lock(path: Path) -> Callable[[], None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path.with_name(path.name + ".lock"), thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise LLMError(
            "another process, or another opened model, is writing this recording",
            code="llm.recording-locked",
            where=str(path),
            hint="give each its own path, or close the first",
        ) from error
    return lock.release


def _nothing() -> None:
    """Nothing to release."""
