"""Actors, environments, populations and simulations.

from plait.agents import Runtime
async with Runtime() as runtime:
    counter = runtime.spawn(Counter)
    print(await counter.call("add", 1))
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Actor": "plait.agents.actor",
    "Address": "plait.agents.actor",
    "Result": "plait.agents.mailbox",
    "Runtime": "plait.agents.runtime",
    "Supervision": "plait.agents.actor",
}

__all__ = ["Actor", "Address", "Result", "Runtime", "Supervision"]  # noqa: F822 - found by __getattr__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
