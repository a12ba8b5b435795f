"""Every error Plait raises on purpose, on one page.

    PlaitError
    ├── UsageError            a wrong argument or option                          exit 2
    │   └── MissingExtra      a feature whose optional packages are not installed
    ├── RecipeError           a recipe that cannot run; always names file:line    exit 2
    ├── DataError             input that cannot be read, or too much of it is bad exit 1
    ├── RunError              a run or stage that failed while working            exit 1
    │   └── StageFailed       carries the stage and the original error
    ├── EngineError           a worker or actor died, or could not be placed      exit 1
    ├── ModelError            a model that cannot be found, loaded or trained     exit 1
    ├── LLMError              a chat call that failed for good                    exit 1
    │   ├── LimitReached      the requests, tokens or money allowed are spent
    │   └── ReplayMiss        a replayed run asked for a call that is not recorded
    └── StrandError           a method's own precondition does not hold           exit 1

Each carries a stable ``code`` such as ``recipe.unknown-key`` (a heading of docs/errors.md), what
happened with the values, ``where`` (file:line or a record), and ``hint``: what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PlaitError(Exception):
    """Base of all deliberate errors.

    Args:
        message: What happened, with the values involved; one sentence.
        code: Stable slug ``area.problem``; a heading in docs/errors.md.
        where: ``file:line``, a stage, or a record; omitted when there is no such place.
        hint: What the reader can do next, in a few words.

    Example:
        >>> str(PlaitError("no rows", code="data.empty", where="a.jsonl", hint="check the path"))
        'a.jsonl: no rows; check the path [data.empty]'
    """

    exit_status = 1

    def __init__(self, message: str, *, code: str, where: str | None = None, hint: str | None = None) -> None:
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.message}{advice} [{self.code}]"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries (engine workers); keyword-only fields do not pickle by default.
        return (_rebuild, (type(self), self.message, self.code, self.where, self.hint))


def _rebuild(kind: type[PlaitError], message: str, code: str, where: str | None, hint: str | None) -> PlaitError:
    return kind(message, code=code, where=where, hint=hint)


class UsageError(PlaitError):
    """A wrong argument, option or name given by the caller."""

    exit_status = 2


class MissingExtra(UsageError):
    """A feature was asked for whose optional packages are not installed."""


class RecipeError(PlaitError):
    """A recipe that cannot run; found before any work starts. ``problems`` holds everything wrong with it."""

    exit_status = 2
    problems: tuple[RecipeError, ...] = ()


class DataError(PlaitError):
    """Input that cannot be read, or more bad records than allowed."""


class RunError(PlaitError):
    """A run that failed while working: disk full, lock held, folder damaged."""


class StageFailed(RunError):
    """One stage of a run failed; the run folder keeps what was finished."""


class EngineError(PlaitError):
    """A worker or actor died, or could not be placed."""


class ModelError(PlaitError):
    """A model that cannot be found, loaded, generated from or trained."""


class LLMError(PlaitError):
    """A chat call that failed after its retries."""


class LimitReached(LLMError):
    """The allowed requests, tokens or money are spent."""


class ReplayMiss(LLMError):
    """A replayed run asked for a call that was never recorded."""


class StrandError(PlaitError):
    """A published method's own precondition does not hold (too few clients, no pairs, …)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for a mistyped name: the closest known one, or the list of all.

    Example:
        >>> nearest("lerning_rate", ["learning_rate", "steps"])
        'did you mean "learning_rate"?'
        >>> nearest("zzz", ["b", "a"])
        'known: a, b'
    """
    names = sorted(set(known))
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"known: {shown}" if names else "nothing is known here"
