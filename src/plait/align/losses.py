"""The base losses: one number per pair from its log-probabilities, each exactly as published.

Every method of this package is one of these, times a β rule, a selection and a reduction
(`beta_rules`, `selection`, `reduction`). Nothing here knows of a model, a tokenizer or a trainer: tensors in, tensors
out, in whatever dtype comes in.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from plait.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """What a preference objective sees of a batch: sums of log-probabilities over completion tokens, in nats.

    Args:
        policy_chosen: log π(chosen | prompt), ``[batch]``; carries the gradient.
        policy_rejected: log π(rejected | prompt), ``[batch]``; carries the gradient.
        reference_chosen: The same under the frozen reference model, ``[batch]``; zeros for a
            reference-free loss.
        reference_rejected: The same under the frozen reference model, ``[batch]``.
        chosen_length: Completion tokens of the chosen text, ``[batch]``, at least 1.
        rejected_length: Completion tokens of the rejected text, ``[batch]``, at least 1.
        weight: How much each pair counts, ``[batch]``, positive; all equal if absent.
        flip_prior: Probability that the label of each pair is wrong, ``[batch]``; used by ``cdpo``, ``rdpo`` and
            ``exo_pair`` in place of their one rate for all.
        group: Whole numbers that say which pairs belong together, ``[batch]``: an annotator, a source, a process.
            Scalars are told by group as well, and the reduction ``group_mean`` counts all groups alike.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_length: Tensor
    rejected_length: Tensor
    weight: Tensor | None = None
    flip_prior: Tensor | None = None
    group: Tensor | None = None

    def __post_init__(self) -> None:
        shapes = {f.name: tuple(t.shape) for f in fields(self) if (t := getattr(self, f.name)) is not None}
        if len(set(shapes.values())) != 1 or len(self.policy_chosen.shape) != 1:
            raise ValueError(f"every field of a PairBatch is [batch]; got {shapes}")

    def __len__(self) -> int:
        return int(self.policy_chosen.shape[0])

    def log_ratio_gap(self) -> Tensor:
        """``[log π/π_ref](chosen) - [log π/π_ref](rejected)`` in nats, ``[batch]``; no β in it."""
        return (self.policy_chosen - self.reference_chosen) - (self.policy_rejected - self.reference_rejected)


class BaseLoss(Component):
    """A loss of one pair, as a function of its gap and β."""

    needs_reference: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    """Whether the loss of a pair is known without the others."""

    def gap(self, batch: PairBatch) -> Tensor:
        """How far the policy has moved towards the chosen text, ``[batch]``; β rules and selection see it."""
        return batch.log_ratio_gap()

    @abstractmethod
    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:
        """The loss of each pair.

        Args:
            gap: What `gap` returned, ``[batch]``.
            beta: One β, ``[]``, or one per pair, ``[batch]``.
            batch: The pairs, for losses that need more of them.

        Returns:
            Losses, ``[batch]``.
        """


class Sigmoid(BaseLoss):
    """DPO: ``-log σ(β gap)``. Source: Rafailov et al. 2023 (arXiv 2305.18290), equation 7."""

    name: Literal["sigmoid"] = "sigmoid"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        from torch.nn.functional import logsigmoid

        return -logsigmoid(beta * gap)


class Conservative(BaseLoss):
    """Conservative DPO believes a label only so far: ``-(1-ε) log σ(z) - ε log σ(-z)``, z = β gap.

    Source: Mitchell 2023, "A note on DPO with noisy preferences".
    """

    name: Literal["cdpo"] = "cdpo"
    flip_rate: float = Field(default=0.1, ge=0, le=0.5)
    """ε: the share of labels thought to be wrong."""

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: D102
        from torch.nn.functional import logsigmoid

        flip, z = _flip(self.flip_rate, batch), beta * gap
        return -(1 - flip) * logsigmoid(z) - flip * logsigmoid(-z)


class Robust(BaseLoss):
    """Robust DPO, unbiased under label flips: ``[-(1-ε) log σ(z) + ε log σ(-z)] / (1-2ε)``, z = β gap.

    Source: Chowdhury et al. 2024 (arXiv 2403.00409).
    """

    name: Literal["rdpo"] = "rdpo"
    flip_rate: float = Field(default=0.1, ge=0, lt=0.5)
    """ε: the share of labels that are wrong; its exact value matters, unlike for ``cdpo``."""

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: D102
        from torch.nn.functional import logsigmoid

        flip, z = _flip(self.flip_rate, batch), beta * gap
        return (-(1 - flip) * logsigmoid(z) + flip * logsigmoid(-z)) / (1 - 2 * flip)


class IPO(BaseLoss):
    """Identity preference optimisation: ``(gap - 1/(2β))²``; β is the paper's τ.

    Source: Azar et al. 2023 (arXiv 2310.12036), equation 17. The original DPO code sums log-probabilities
    over tokens as here by default; TRL averages them (``per_token``).
    """

    name: Literal["ipo"] = "ipo"
    per_token: bool = False
    """Take the gap of mean instead of summed log-probabilities, so that length does not set its size."""

    def gap(self, batch: PairBatch) -> Tensor:  # noqa: D102
        if not self.per_token:
            return batch.log_ratio_gap()
        chosen = (batch.policy_chosen - batch.reference_chosen) / batch.chosen_length
        rejected = (batch.policy_rejected - batch.reference_rejected) / batch.rejected_length
        return chosen - rejected

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        return (gap - 1 / (2 * beta)) ** 2


class Hinge(BaseLoss):
    """The SLiC loss on the DPO gap: ``max(0, 1 - β gap)``.

    Source: Zhao et al. 2023, SLiC-HF (arXiv 2305.10425), normalised as in Liu et al. 2023, RSO (arXiv
    2309.06657).
    """

    name: Literal["hinge"] = "hinge"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        return (1 - beta * gap).clamp(min=0)


class SimPO(BaseLoss):
    """SimPO, reference-free: ``-log σ(β gap - γ)``, gap = difference of mean log-probabilities per token.

    Source: Meng et al. 2024 (arXiv 2405.14734), equation 6. Its β is of the order of 2, not 0.1.
    """

    needs_reference: ClassVar[bool] = False

    name: Literal["simpo"] = "simpo"
    target_margin: float = Field(default=1.0, ge=0)
    """γ: the margin asked for, in units of β × nats per token."""

    def gap(self, batch: PairBatch) -> Tensor:  # noqa: D102
        return batch.policy_chosen / batch.chosen_length - batch.policy_rejected / batch.rejected_length

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        from torch.nn.functional import logsigmoid

        return -logsigmoid(beta * gap - self.target_margin)


class ExoPair(BaseLoss):
    """EXO on pairs: ``KL(policy ‖ labels)`` where DPO minimises the other direction.

    With z = β gap and labels smoothed to (1-ε, ε): ``σ(z) (log σ(z) - log(1-ε)) + σ(-z) (log σ(-z) - log ε)``.

    Source: Ji et al. 2024 (arXiv 2402.00856), equation 16.
    """

    name: Literal["exo_pair"] = "exo_pair"
    flip_rate: float = Field(default=1e-3, gt=0, lt=0.5)
    """ε: the share of labels thought to be wrong; 0 would make the divergence infinite."""

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: D102
        import torch
        from torch.nn.functional import logsigmoid

        z, flip = beta * gap, torch.as_tensor(_flip(self.flip_rate, batch), dtype=gap.dtype, device=gap.device)
        chosen = z.sigmoid() * (logsigmoid(z) - torch.log1p(-flip))
        return chosen + (-z).sigmoid() * (logsigmoid(-z) - flip.log())


def _flip(rate: float, batch: PairBatch) -> Tensor | float:
    return rate if batch.flip_prior is None else batch.flip_prior
