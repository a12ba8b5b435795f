"""What a client's model offers to federation; anything of this shape will do.

Only plain types cross this door, so a class of another package (a preference learner, a vision model) is a
learner by its shape alone, without importing `plait.federate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


class Learner(Protocol):
    """A model and the data of one client, or of all clients that live in this process.

    The part that is trained is one flat float32 vector ``[parameters]``. A learner keeps nothing between
    calls that changes its answers: `train` is a function of its arguments and of the client's data. That is
    what lets one frozen base serve every client of a process, and a killed run continue to the same bytes.
    """

    def start(self) -> Vector:
        """The vector every client starts from, ``[parameters]``."""
        ...

    def layout(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Name and shape of each part of the vector, in order; nothing else may travel."""
        ...

    def examples(self) -> Mapping[str, int]:
        """How many training examples each client here holds."""
        ...

    def train(
        self, vector: Vector, *, client: str, first_step: int, steps: int, proximal: float, seed: int
    ) -> tuple[Vector, Sequence[float]]:
        """Take optimiser steps on one client's data.

        Args:
            vector: Where to start, ``[parameters]``; not changed.
            client: Whose data.
            first_step: Steps this client has taken in earlier rounds: its place in its own order of batches.
            steps: Optimiser steps to take.
            proximal: μ of FedProx: adds ``(μ/2)·‖θ − vector‖²`` to the loss; 0 for none.
            seed: For anything random in these steps (dropout).

        Returns:
            The trained vector ``[parameters]``, and the loss of each step.

        Raises:
            ModelError: The loss is not finite.
        """
        ...

    def evaluate(self, vector: Vector, *, client: str) -> float:
        """Mean loss of the vector on the client's held-out data."""
        ...
