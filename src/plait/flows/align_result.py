"""What a preference run leaves for programs: `result.json`, read by `align.compare` and printed by ``--json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from plait.core.component import Component

if TYPE_CHECKING:
    from plait.align.evaluate import Interval
    from plait.align.samples import KL
    from plait.align.verdicts import Verdict


class Estimate(Component):
    """A number with its 95 % interval."""

    value: float
    """The estimate."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        """From an interval."""
        return cls(value=interval.value, low=interval.low, high=interval.high)

    def text(self, digits: int = 2) -> str:
        """As ``0.78 (0.62 to 0.91)``."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


class Measure(Component):
    """One measure of the held-out pairs."""

    name: str
    """What, with its unit."""
    before: Estimate | None
    """Under the reference; none for the implicit reward, which is 0 for every pair there."""
    after: Estimate
    """After training."""


class SampleFacts(Component):
    """What the policy's own samples say."""

    prompts: int
    """How many were continued."""
    kl_sequence: Estimate
    """KL to the reference, nats per sample, by k3."""
    kl_token: Estimate
    """The same per token."""
    length_ratio: Estimate
    """Mean length of the policy's samples over the reference's."""
    cut: float
    """Share of the policy's samples that ran out of tokens."""

    @classmethod
    def of(cls, kl: KL, length_ratio: Interval, *, prompts: int, cut: float) -> SampleFacts:
        """From what `plait.align.samples` found."""
        return cls(
            prompts=prompts,
            kl_sequence=Estimate.of(kl.sequence_k3),
            kl_token=Estimate.of(kl.token),
            length_ratio=Estimate.of(length_ratio),
            cut=cut,
        )


class FlipFacts(Component):
    """What became of training pairs whose label is known to be flipped."""

    pairs: int
    """Training pairs measured."""
    flipped: int
    """Those of them that are flipped."""
    weight: float
    """Share of the batch's weight that flipped pairs have at the end."""
    pull: float
    """Share of the gradient's size, Σ \\|∂loss/∂log π(chosen)\\|, that flipped pairs have at the end."""
    learnt: float
    """Share of the flipped pairs that are now ordered as their wrong label says."""


class VerdictFacts(Component):
    """One verdict; see `plait.align.verdicts`."""

    name: str
    """What was looked at."""
    level: Literal["fine", "note", "warning", "problem"]
    """How bad it is."""
    measured: float
    """The number found."""
    threshold: float
    """Where the level changes."""
    unit: str
    """Of both."""
    reason: str
    """What it means."""
    try_this: str
    """One change."""

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> tuple[VerdictFacts, ...]:
        """From verdicts."""
        return tuple(cls(**vars(verdict)) for verdict in verdicts)


class PreferenceResult(Component):
    """A finished run of `align.preference`."""

    model: str
    """What was trained."""
    objective: dict[str, Any]
    """Its settings, with ``name``."""
    trained_on: int
    """Pairs trained on."""
    steps: int
    """Optimiser steps."""
    set_aside: dict[str, int]
    """Reason → records that could not be used."""
    measures: tuple[Measure, ...]
    """Of the held-out pairs, before and after."""
    heldout: tuple[str, ...]
    """Ids of the held-out pairs."""
    gaps: tuple[float, ...]
    """Implicit reward over β of each, in nats."""
    margins: tuple[float, ...]
    """Margin per token of each after training, in nats."""
    margins_before: tuple[float, ...]
    """The same before training."""
    samples: SampleFacts | None
    """Of the policy's own samples, where they were asked for."""
    flips: FlipFacts | None
    """Of flipped training pairs, where they are known."""
    verdicts: tuple[VerdictFacts, ...]
    """The worst first."""

    def summary(self) -> dict[str, Any]:
        """Everything but the numbers of single pairs: what ``--json`` prints."""
        return self.model_dump(mode="json", exclude={"heldout", "gaps", "margins", "margins_before"})
