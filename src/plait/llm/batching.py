"""The dynamic batcher: concurrent calls become few batches, and equal work is done once.

One thread owns the model. It collects calls for a short window, lays their replies out as rows (prompt, seed),
merges equal rows, and computes rows of one group (same sampling settings and schema) together, oldest first. It knows
nothing of models: it is given a function that computes rows.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar, cast

from plait.errors import LLMError, PlaitError

R = TypeVar("R")


@dataclass(frozen=True)
class Group:
    """What rows of one batch have in common. ``schema`` is JSON text, so that groups can be compared."""

    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()
    schema: str | None = None


@dataclass(frozen=True)
class Row:
    """One completion to compute. At temperature 0 the seed is 0, so that equal prompts are equal rows."""

    group: Group
    prompt: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class BatchCounts:
    """What the batcher did so far.

    Args:
        calls: Calls taken in.
        replies: Completions they asked for.
        computed: Completions truly computed; the rest were equal to one of these.
        batches: Batches computed.
        prompt_tokens: Prompt tokens of all replies asked for.
        prefilled_tokens: Prompt tokens truly read: equal rows once, and what a batch's prompts share once.
    """

    calls: int = 0
    replies: int = 0
    computed: int = 0
    batches: int = 0
    prompt_tokens: int = 0
    prefilled_tokens: int = 0

    @property
    def saved_tokens(self) -> int:
        """Prompt tokens that did not have to be read."""
        return self.prompt_tokens - self.prefilled_tokens


@dataclass(eq=False)
class _Job(Generic[R]):
    lay_out: Callable[[], Sequence[Row]]
    future: Future[list[R]]
    arrived: float
    results: list[R | None] = field(default_factory=list[R | None])
    missing: int = 0


@dataclass(eq=False)
class _Waiting(Generic[R]):
    """A row to compute and the places in calls that want it."""

    arrived: float
    places: list[tuple[_Job[R], int]]

    @property
    def wanted(self) -> bool:
        return any(not job.future.done() for job, _ in self.places)


class Batcher(Generic[R]):
    """Runs rows in batches on one thread of its own.

    Args:
        compute: Results of rows of one group, in their order; called on the batcher's thread only.
        max_batch: Most rows of a batch.
        max_batch_tokens: Most tokens of a batch: rows × (longest prompt + ``max_tokens``). One row always fits.
        window_s: How long the oldest waiting row waits for company, in seconds.
        remember: How many results are kept for equal rows that come later.
        prefill_tokens: Prompt tokens that ``compute`` reads for a batch of these prompts; by default all of them.

    Example:
        >>> batcher = Batcher(lambda rows: [sum(r.prompt) for r in rows], max_batch=8)
        >>> row = Row(Group(0.0, 4), (1, 2, 3), 0)
        >>> [batcher.submit(lambda: [row, row]).result() for _ in range(2)], batcher.counts.computed
        ([[6, 6], [6, 6]], 1)
        >>> batcher.close()
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Row]], Sequence[R]],
        *,
        max_batch: int = 32,
        max_batch_tokens: int = 1 << 20,
        window_s: float = 0.01,
        remember: int = 4096,
        prefill_tokens: Callable[[Sequence[tuple[int, ...]]], int] | None = None,
    ) -> None:
        self._compute = compute
        self._prefill_tokens = prefill_tokens or all_prompt_tokens
        self._max_batch = max_batch
        self._max_batch_tokens = max_batch_tokens
        self._window_s = window_s
        self._remember = remember
        self._counts = BatchCounts()
        self._inbox: deque[_Job[R]] = deque()
        self._waiting: OrderedDict[Row, _Waiting[R]] = OrderedDict()
        self._known: OrderedDict[Row, R] = OrderedDict()
        self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="plait-batcher", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> BatchCounts:
        """What was done so far."""
        return self._counts

    def submit(self, lay_out: Callable[[], Sequence[Row]]) -> Future[list[R]]:
        """Ask for rows; the future holds their results in order. Cancelling it disturbs nobody else.

        Args:
            lay_out: Makes the rows; called on the batcher's thread, where tokenizers may be used.

        Raises:
            LLMError: The batcher is closed.
        """
        job = _Job[R](lay_out, Future(), time.monotonic())
        with self._news:
            if self._closed:
                raise _closed()
            self._inbox.append(job)
            self._news.notify()
        return job.future

    def close(self) -> None:
        """Finish the batch that is running, fail what waits, and end the thread."""
        self._end()
        self._thread.join()

    async def aclose(self) -> None:
        """The same without holding the event loop; also while the interpreter ends, when there is no executor."""
        self._end()
        while self._thread.is_alive():
            await asyncio.sleep(0.01)

    def _end(self) -> None:
        with self._news:
            self._closed = True
            self._news.notify()

    def _work(self) -> None:
        while self._collect():
            batch = self._next_batch()
            if batch:
                self._run(batch)
        for job in self._jobs_left():
            _fail(job, _closed())

    def _collect(self) -> bool:
        """Take calls in until a batch is due; false when the batcher is closed."""
        while True:
            with self._news:
                while not (self._inbox or self._waiting or self._closed):
                    self._news.wait()
                if self._closed:
                    return False
                arrivals = list(self._inbox)
                self._inbox.clear()
            for job in arrivals:
                self._take_in(job)
            if not self._waiting:
                continue
            due = next(iter(self._waiting.values())).arrived + self._window_s
            rest = due - time.monotonic()
            if rest <= 0 or len(self._waiting) >= self._max_batch:
                return True
            with self._news:
                if not (self._inbox or self._closed):
                    self._news.wait(rest)

    def _take_in(self, job: _Job[R]) -> None:
        if job.future.done():
            return
        try:
            rows = job.lay_out()
        except PlaitError as error:
            _fail(job, error)
            return
        except Exception as error:  # noqa: BLE001  a thread must hand every failure to who waits for it
            _fail(job, _wrapped(error))
            return
        job.results = [None] * len(rows)
        job.missing = len(rows)
        self._counts = replace(
            self._counts,
            calls=self._counts.calls + 1,
            replies=self._counts.replies + len(rows),
            prompt_tokens=self._counts.prompt_tokens + sum(len(row.prompt) for row in rows),
        )
        for place, row in enumerate(rows):
            if row in self._known:
                self._known.move_to_end(row)
                _deliver(job, place, self._known[row])
            else:
                waiting = self._waiting.setdefault(row, _Waiting(job.arrived, []))
                waiting.places.append((job, place))

    def _next_batch(self) -> list[tuple[Row, _Waiting[R]]]:
        """The oldest row and those behind it that can be computed with it."""
        batch: list[Row] = []
        unwanted: list[Row] = []
        longest = 0
        for row, waiting in self._waiting.items():
            if not waiting.wanted:  # every caller was cancelled
                unwanted.append(row)
                continue
            if batch and row.group != batch[0].group:
                continue
            longest = max(longest, len(row.prompt))
            tokens = (len(batch) + 1) * (longest + row.group.max_tokens)
            if batch and tokens > self._max_batch_tokens:
                break
            batch.append(row)
            if len(batch) == self._max_batch:
                break
        for row in unwanted:
            del self._waiting[row]
        return [(row, self._waiting.pop(row)) for row in batch]

    def _run(self, batch: Sequence[tuple[Row, _Waiting[R]]]) -> None:
        rows = [row for row, _ in batch]
        try:
            results = self._compute(rows)
        except Exception as error:  # noqa: BLE001  a thread must hand every failure to who waits for it
            for _, waiting in batch:
                for job, _ in waiting.places:
                    _fail(job, _wrapped(error))
            return
        self._counts = replace(
            self._counts,
            batches=self._counts.batches + 1,
            computed=self._counts.computed + len(rows),
            prefilled_tokens=self._counts.prefilled_tokens + self._prefill_tokens([row.prompt for row in rows]),
        )
        for (row, waiting), result in zip(batch, results, strict=True):
            self._known[row] = result
            for job, place in waiting.places:
                _deliver(job, place, result)
        while len(self._known) > self._remember:
            self._known.popitem(last=False)

    def _jobs_left(self) -> Iterator[_Job[R]]:
        yield from self._inbox
        for waiting in self._waiting.values():
            for job, _ in waiting.places:
                yield job


def _deliver(job: _Job[R], place: int, result: R) -> None:
    job.results[place] = result
    job.missing -= 1
    if job.missing == 0:
        with suppress(InvalidStateError):  # cancelled meanwhile
            job.future.set_result(cast("list[R]", job.results))


def _fail(job: _Job[R], error: Exception) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile, or failed by another of its rows
        job.future.set_exception(error)


def _wrapped(error: Exception) -> LLMError:
    """A new error for each caller: one shared by many would collect the traceback of each."""
    if isinstance(error, PlaitError):
        wrapped = LLMError(error.message, code=error.code, where=error.where, hint=error.hint)
    else:
        wrapped = LLMError(f"the model failed: {error!r}", code="llm.local-failed")
    wrapped.__cause__ = error
    return wrapped


def _closed() -> LLMError:
    return LLMError("the model is closed", code="llm.closed", hint="open it again")


def all_prompt_tokens(prompts: Sequence[tuple[int, ...]]) -> int:
    """Prompt tokens of a batch that shares nothing.

    Example:
        >>> all_prompt_tokens([(1, 2), (1, 2)])
        4
    """
    return sum(len(p) for p in prompts)
