"""Actors, environments, populations and simulations.

    from plait.agents import Runtime

    async with Runtime() as runtime:
        counter = runtime.spawn(Counter)
        print(await counter.call("add", 1))

Read in this order: `actor` and `mailbox` (what is sent to whom), `runtime` (how it runs), `environment`
(shared state with events), `population` (who takes part), `simulation` (rounds over a population, recorded).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.agents.actor import Actor, Address, Supervision
    from plait.agents.environment import Environment, Event, event
    from plait.agents.mailbox import Result
    from plait.agents.population import Background, Population, Quota, Share
    from plait.agents.runtime import Runtime
    from plait.agents.simulation import Journal, Simulation, Turn, trajectories

__all__ = [
    "Actor",
    "Address",
    "Background",
    "Environment",
    "Event",
    "Journal",
    "Population",
    "Quota",
    "Result",
    "Runtime",
    "Share",
    "Simulation",
    "Supervision",
    "Turn",
    "event",
    "trajectories",
]

_HOME = {
    "Actor": "actor",
    "Address": "actor",
    "Background": "population",
    "Environment": "environment",
    "Event": "environment",
    "Journal": "simulation",
    "Population": "population",
    "Quota": "population",
    "Result": "mailbox",
    "Runtime": "runtime",
    "Share": "population",
    "Simulation": "simulation",
    "Supervision": "actor",
    "Turn": "simulation",
    "event": "environment",
    "trajectories": "simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
