"""Which of a client's examples a step trains on: a function of the step alone, so nothing has to be carried over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plait.core.seeds import Seeds


def batch_of(examples: int, *, size: int, step: int, seeds: Seeds) -> npt.NDArray[np.int64]:
    """Numbers of a step's examples, ``[size]``: a new shuffle every epoch, its short rest left out.

    Args:
        examples: How many the client holds; all of them are the batch when they are fewer than ``size``.
        size: Examples per step.
        step: From 0, counted over all rounds: a round continues where the last one stopped.
        seeds: The client's own stream.

    Example:
        >>> first, second = (batch_of(4, size=2, step=s, seeds=Seeds(0)) for s in (0, 1))
        >>> sorted([*first.tolist(), *second.tolist()])
        [0, 1, 2, 3]
    """
    size = min(size, examples)
    epoch, place = divmod(step, examples // size)
    order = seeds.child("epoch", epoch).numpy().permutation(examples)
    return order[place * size : (place + 1) * size]
