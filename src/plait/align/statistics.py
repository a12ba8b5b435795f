"""What is remembered from batch to batch: mean and spread of the gaps, and Dr. DPO's normaliser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class GapStatistics:
    """Running mean and spread of the gaps, updated once per training batch.

    Exponential averages start at zero; ``corrected`` divides by ``1 - momentum^t`` as Adam does, so the
    first batch already gives its own mean. Uncorrected is what the official β-DPO code does: 22 batches to
    reach 90 %.

    Source: Wu et al. 2024, β-DPO (arXiv 2407.08639).

    Example:
        >>> import torch
        >>> s = GapStatistics(momentum=0.9)
        >>> s.update(torch.tensor([1.0, 3.0]))
        >>> round(s.mean, 6), round(s.spread, 6)
        (2.0, 1.414214)
    """

    momentum: float = 0.9
    corrected: bool = True
    mean_average: float = 0.0
    mean_updates: int = 0
    spread_average: float = 0.0
    spread_updates: int = 0

    @property
    def mean(self) -> float:
        """M0, in nats."""
        return self.mean_average / self._correction(self.mean_updates)

    @property
    def spread(self) -> float:
        """S, the standard deviation in nats; 0 until a batch of at least two pairs was seen."""
        return self.spread_average / self._correction(self.spread_updates)

    def update(self, gaps: Tensor) -> None:
        """Take in one batch of gaps, ``[batch]``. Gaps that are not finite leave everything as it is."""
        if not bool(gaps.isfinite().all()):
            return
        keep = self.momentum
        self.mean_average = keep * self.mean_average + (1 - keep) * float(gaps.mean())
        self.mean_updates += 1
        if len(gaps) > 1:  # one pair has no spread
            self.spread_average = keep * self.spread_average + (1 - keep) * float(gaps.std())
            self.spread_updates += 1

    def state_dict(self) -> dict[str, float | int]:
        """The four numbers a checkpoint needs."""
        return {
            "mean_average": self.mean_average,
            "mean_updates": self.mean_updates,
            "spread_average": self.spread_average,
            "spread_updates": self.spread_updates,
        }

    def load_state_dict(self, state: dict[str, float | int]) -> None:
        """Continue from `state_dict`."""
        self.mean_average = float(state["mean_average"])
        self.mean_updates = int(state["mean_updates"])
        self.spread_average = float(state["spread_average"])
        self.spread_updates = int(state["spread_updates"])

    def _correction(self, updates: int) -> float:
        return 1 - self.momentum**updates if self.corrected and updates else 1.0


@dataclass
class LogNormaliser:
    """Running mean of ``exp(-loss/β')``, kept as its logarithm so that no loss is too large for it.

    With it Dr. DPO's weights need no other pair of the batch, so they work at one pair per forward pass.

    Example:
        >>> z = LogNormaliser(momentum=0.5)
        >>> z.update(math.log(4.0))
        >>> round(math.exp(z.value), 6)  # corrected: the first batch gives its own mean
        4.0
        >>> z.update(math.log(1.0))
        >>> round(math.exp(z.value), 6)  # (0.5 · 0.5 · 4 + 0.5 · 1) / (1 - 0.25)
        2.0
    """

    momentum: float = 0.9
    log_average: float = -math.inf
    updates: int = 0

    @property
    def value(self) -> float:
        """Logarithm of the running mean, in nats; ``-inf`` before the first batch."""
        return self.log_average - math.log1p(-(self.momentum**self.updates)) if self.updates else -math.inf

    def update(self, log_mean: float) -> None:
        """Take in ``log mean exp(-loss/β')`` of one batch."""
        old = self.log_average + math.log(self.momentum) if self.momentum > 0 else -math.inf
        new = log_mean + math.log1p(-self.momentum)
        high = max(old, new)
        self.log_average = high + math.log(math.exp(old - high) + math.exp(new - high))
        self.updates += 1

    def state_dict(self) -> dict[str, float | int | None]:
        """What a checkpoint needs."""
        return {"log_average": self.log_average if self.updates else None, "updates": self.updates}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Continue from `state_dict`."""
        average = state["log_average"]
        self.log_average = -math.inf if average is None else float(average)
        self.updates = int(state["updates"] or 0)
