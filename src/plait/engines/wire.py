"""What crosses between two of our processes: values, and failures with the traceback of the other side."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from plait.errors import EngineError, PlaitError

Dumps = Callable[[object], bytes]
"""A pickler. Ray's own also takes what is defined in the main script, which its workers cannot import."""


def dumps(value: object) -> bytes:
    """The standard pickler."""
    return pickle.dumps(value, protocol=5)


class RemoteTraceback(Exception):
    """The traceback of another process, as text: the ``__cause__`` of the error raised on this side."""

    def __str__(self) -> str:
        return f"\n--- in the other process ---\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """An exception on its way back.

    Args:
        summary: ``ValueError: bad``.
        trace: Its traceback.
        error: The exception itself where it is one of ours.
    """

    summary: str
    trace: str
    error: PlaitError | None


def pack(value: object, *, what: str, dumps: Dumps = dumps) -> bytes:
    """Serialise something for another process.

    Raises:
        EngineError: It cannot be sent, e.g. a lambda or an open file.
    """
    try:
        return dumps(value)
    # What an object's own pickling code raises is up to the object.
    except Exception as error:
        raise EngineError(
            f"{what} cannot be sent to another process: {summary(error)}",
            code="engine.not-sendable",
            hint="define functions and classes at the top of a module, and pass plain data",
        ) from error


def unpack(message: bytes) -> Any:
    """The inverse of `pack`."""
    return pickle.loads(message)


def attempt(work: Callable[[], object], *, dumps: Dumps = dumps) -> bytes:
    """Do the work and serialise what came of it, value or failure; read on the other side by `outcome`."""
    try:
        return pack((work(), None), what="the result", dumps=dumps)
    # Whatever the work raises belongs to the caller in the other process, so this is the one place to catch
    # all.
    except Exception as error:  # noqa: BLE001
        return dumps((None, _failure(error, dumps)))


def outcome(reply: bytes, *, what: str, code: str) -> Any:
    """The value of a reply, or its failure raised here.

    Args:
        reply: Made by `attempt`.
        what: Names the work in the error, e.g. ``shard 3 of 8``.
        code: Of the `EngineError` raised for an exception that is not ours.

    Raises:
        PlaitError: The one that the work raised.
        EngineError: Any other exception of the work.

    Example:
        >>> outcome(attempt(lambda: 6 * 7), what="the sum", code="engine.shard-failed")
        42
    """
    value, failed = unpack(reply)
    if failed is not None:
        _raise(failed, what=what, code=code)
    return value


def summary(error: BaseException) -> str:
    """``ValueError: bad``, or only the type where there is no text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _failure(error: Exception, dumps: Dumps) -> Failure:
    return Failure(
        summary=summary(error),
        trace="".join(traceback.format_exception(error)),
        error=error if isinstance(error, PlaitError) and _travels(error, dumps) else None,
    )


def _raise(failed: Failure, *, what: str, code: str) -> NoReturn:
    cause = RemoteTraceback(failed.trace)
    if failed.error is not None:
        failed.error.add_note(f"while working on {what}")
        raise failed.error from cause
    raise EngineError(f"{what} failed: {failed.summary}", code=code, hint="the traceback above says where") from cause


def _travels(error: PlaitError, dumps: Dumps) -> bool:
    """Whether an error survives the trip; one with a constructor of its own may not."""
    try:
        pickle.loads(dumps(error))
    # Again: the object's own code decides what is raised.
    except Exception:  # noqa: BLE001
        return False
    return True
