"""Learning together while the data stays with its owners.

The loop is `plait.federate.rounds.run_rounds`: read it first, it fits one screen. What it drives:

- an **algorithm** decides what each client does and what the server makes of it (`algorithms/`), with an
  **aggregator** that turns the clients' changes into one (`aggregators/`);
- a **transport** carries tasks to clients and their replies back (`transports/`): straight calls, or
  an engine's actors;
- a **learner** is the client's model and data (`learners/`), anything of the shape in `learner.py`.

The same seeds give the same SHA-256 of the global model on every transport.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.federate.aggregators.coordinate import CoordinateMedian, TrimmedMean
    from plait.federate.aggregators.mean import Mean
    from plait.federate.algorithms.base import Algorithm
    from plait.federate.algorithms.fedavg import FedAvg
    from plait.federate.learner import Learner
    from plait.federate.learners.lora import LoRALearner
    from plait.federate.learners.numpy_linear import NumpyLinear
    from plait.federate.payload import Payload
    from plait.federate.rounds import run_rounds
    from plait.federate.transports.checkpointed import Checkpointed
    from plait.federate.transports.engine import EngineTransport
    from plait.federate.transports.inprocess import InProcess

_HOMES = {
    "Algorithm": "plait.federate.algorithms.base",
    "Checkpointed": "plait.federate.transports.checkpointed",
    "CoordinateMedian": "plait.federate.aggregators.coordinate",
    "EngineTransport": "plait.federate.transports.engine",
    "FedAvg": "plait.federate.algorithms.fedavg",
    "InProcess": "plait.federate.transports.inprocess",
    "Learner": "plait.federate.learner",
    "LoRALearner": "plait.federate.learners.lora",
    "Mean": "plait.federate.aggregators.mean",
    "NumpyLinear": "plait.federate.learners.numpy_linear",
    "Payload": "plait.federate.payload",
    "TrimmedMean": "plait.federate.aggregators.coordinate",
    "run_rounds": "plait.federate.rounds",
}

__all__ = [
    "Algorithm",
    "Checkpointed",
    "CoordinateMedian",
    "EngineTransport",
    "FedAvg",
    "InProcess",
    "Learner",
    "LoRALearner",
    "Mean",
    "NumpyLinear",
    "Payload",
    "TrimmedMean",
    "run_rounds",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
