"""Where work runs: on this machine or on a Ray cluster.

    with open_engine("local") as engine:
        parts = engine.map(count_words, shards, on_done=lambda done, total: print(done, total))

`base` says what every engine offers, `local` and `ray` are the two we ship; `wire`, `host` and `mailbox` are
what they share.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.engines.base import ActorHandle, Engine
    from plait.engines.local import LocalEngine
    from plait.engines.opening import open_engine
    from plait.engines.ray import RayEngine

__all__ = ["ActorHandle", "Engine", "LocalEngine", "RayEngine", "open_engine"]

_HOME = {
    "ActorHandle": "plait.engines.base",
    "Engine": "plait.engines.base",
    "LocalEngine": "plait.engines.local",
    "RayEngine": "plait.engines.ray",
    "open_engine": "plait.engines.opening",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
