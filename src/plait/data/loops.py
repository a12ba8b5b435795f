"""Loops compiled by Numba: cached on disk, and made again when any code they may be made of has changed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

from numba import njit
from numba.core import caching, config, event
from numba.extending import intrinsic

from plait.core.hashing import hash_code


@contextmanager
def _taken_for_imported(name: str) -> Generator[None]:
    if "scipy" not in sys.modules or name in sys.modules:
        yield
        return
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


# Before the first loop Numba imports SciPy's linear algebra, a tenth of a second, to see whether it is there; and again
# where a loop multiplies matrices, as ours do not.
with _taken_for_imported("scipy.linalg.cython_blas"):
    importlib.import_module("numba.np.arraymath")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loop compiled by Numba: cached on disk, without the interpreter's lock."""
    return _loop(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A small function of compiled loops, put in place of each call: passing an array costs more than using it."""
    return _loop(function, forceinline=True)


def instructions(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of compiled loops, given as the instructions it stands for."""
    return cast("Callable[..., Any]", intrinsic(function))


def _loop(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
    # An option that is given, be it False, holds for all that the loop calls.
    settings: Any = config
    make: Any = njit
    chosen = settings.CACHE_LOCATOR_CLASSES
    settings.CACHE_LOCATOR_CLASSES = chosen or ",".join(f"{__name__}.{one.__name__}" for one in _PLACES)
    try:
        return make(function, cache=True, nogil=True, **options)
    finally:
        settings.CACHE_LOCATOR_CLASSES = chosen


class _Stamped:
    """A place of cached loops. Numba looks at the file of a loop alone, but calls are compiled into their callers."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)  # pyright: ignore[reportCallIssue]
        self._module = py_func.__module__

    def get_source_stamp(self) -> bytes:
        own: bytes = super().get_source_stamp()  # pyright: ignore[reportAttributeAccessIssue]
        return own + hash_code(self._module).encode()


class Chosen(_Stamped, caching.UserProvidedCacheLocator):
    """The folder ``$NUMBA_CACHE_DIR``."""


class BesideSource(_Stamped, caching.InTreeCacheLocator):
    """``__pycache__`` beside the source."""


class OfUser(_Stamped, caching.UserWideCacheLocator):
    """The user's cache, where the source is not to be written beside."""


class OfArchive(_Stamped, caching.ZipCacheLocator):
    """The user's cache, for source in an archive."""


_PLACES = (Chosen, BesideSource, OfUser, OfArchive)


@contextmanager
def compiling(tell: Callable[[], None]) -> Generator[None]:
    """Calls ``tell`` when the first loop is compiled rather than found on disk, as after an installation."""
    with event.install_listener("numba:compile", _First(tell)):
        yield


class _First(event.Listener):
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: Any) -> None:
        del event
        if self._tell is not None:
            self._tell()
            self._tell = None

    def on_end(self, event: Any) -> None:
        pass
