"""Base losses that judge the chosen and the rejected text each for itself, not by their difference alone.

Written with ``w = log π/π_ref(chosen)`` and ``l = log π/π_ref(rejected)``, in nats. Their gap, which β rules and
selections see, is still ``w - l``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plait.align.losses import BaseLoss, PairBatch

if TYPE_CHECKING:
    from torch import Tensor


class NCA(BaseLoss):
    """NCA for pairs: ``-log σ(βw) - ½ log σ(-βw) - ½ log σ(-βl)``; keeps the chosen text from becoming less likely.

    Source: Chen et al. 2024 (arXiv 2402.05369), equation 12 with one rejected text.
    """

    name: Literal["nca_pair"] = "nca_pair"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        from torch.nn.functional import logsigmoid

        chosen, rejected = (beta * side for side in log_ratios(batch))
        return -logsigmoid(chosen) - 0.5 * logsigmoid(-chosen) - 0.5 * logsigmoid(-rejected)


class BCO(BaseLoss):
    """Binary classification of both texts without the moving reward shift: ``-log σ(βw) - log σ(-βl)``.

    Source: Jung et al. 2024 (arXiv 2404.04656), as TRL's ``bco_pair``.
    """

    name: Literal["bco_pair"] = "bco_pair"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        from torch.nn.functional import logsigmoid

        chosen, rejected = (beta * side for side in log_ratios(batch))
        return -logsigmoid(chosen) - logsigmoid(-rejected)


class SPPO(BaseLoss):
    """SPPO with hard labels: ``(w - 1/(2β))² + (l + 1/(2β))²``.

    Source: Wu et al. 2024 (arXiv 2405.00675), equation 4.7 with win rates 1 and 0.
    """

    name: Literal["sppo_hard"] = "sppo_hard"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        chosen, rejected = log_ratios(batch)
        return (chosen - 0.5 / beta) ** 2 + (rejected + 0.5 / beta) ** 2


class APOZero(BaseLoss):
    """APO-zero: ``1 - σ(βw) + σ(βl)``, for chosen texts better than what the model writes by itself.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 7.
    """

    name: Literal["apo_zero"] = "apo_zero"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        chosen, rejected = log_ratios(batch)
        return 1 - (beta * chosen).sigmoid() + (beta * rejected).sigmoid()


class APODown(BaseLoss):
    """APO-down: ``σ(βw) + 1 - σ(β(w - l))``, for chosen texts worse than what the model writes by itself.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 8.
    """

    name: Literal["apo_down"] = "apo_down"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: D102
        chosen, _ = log_ratios(batch)
        return (beta * chosen).sigmoid() + 1 - (beta * gap).sigmoid()


class KTOPair(BaseLoss):
    """KTO on pairs: ``½(1 - σ(β(w - z_l))) + ½(1 - σ(β(z_w - l)))``, z = how far the batch has moved, at least 0.

    ``z_w`` and ``z_l`` are weighted means of w and l over the batch and carry no gradient, so that the loss of a pair
    depends on the others. TRL had it as ``kto_pair`` until 0.9, there with gradients through z.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), equation 8, the mean over the pair's two texts.
    """

    separable: ClassVar[bool] = False

    name: Literal["kto_pair"] = "kto_pair"

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: ARG002, D102
        chosen, rejected = log_ratios(batch)
        weight = chosen.new_ones(len(chosen)) if batch.weight is None else batch.weight
        moved_chosen, moved_rejected = (
            ((weight * side.detach()).sum() / weight.sum()).clamp(min=0) for side in (chosen, rejected)
        )
        wanted = 1 - (beta * (chosen - moved_rejected)).sigmoid()
        unwanted = 1 - (beta * (moved_chosen - rejected)).sigmoid()
        return (wanted + unwanted) / 2


class ORPO(BaseLoss):
    """ORPO, reference-free: the chosen text's loss per token, and ``-β log σ`` of the log odds ratio.

    ``-p_w - β log σ(odds(p_w) - odds(p_l))`` with ``p`` the mean log-probability per token and ``odds(p) = p - log(1 -
    exp p)``; β is the paper's λ, and the gap is the log odds ratio.

    Source: Hong et al. 2024 (arXiv 2403.07691), equations 3 to 7.
    """

    needs_reference: ClassVar[bool] = False

    name: Literal["orpo"] = "orpo"

    def gap(self, batch: PairBatch) -> Tensor:  # noqa: D102
        chosen, rejected = _per_token(batch)
        return _log_odds(chosen) - _log_odds(rejected)

    def loss(self, gap: Tensor, beta: Tensor, batch: PairBatch) -> Tensor:  # noqa: D102
        from torch.nn.functional import logsigmoid

        chosen, _ = _per_token(batch)
        return -chosen - beta * logsigmoid(gap)


def log_ratios(batch: PairBatch) -> tuple[Tensor, Tensor]:
    """``log π/π_ref`` of the chosen and of the rejected texts, each ``[batch]``, in nats."""
    return batch.policy_chosen - batch.reference_chosen, batch.policy_rejected - batch.reference_rejected


def _per_token(batch: PairBatch) -> tuple[Tensor, Tensor]:
    return batch.policy_chosen / batch.chosen_length, batch.policy_rejected / batch.rejected_length


def _log_odds(log_probability: Tensor) -> Tensor:
    """``log p/(1-p)`` from ``log p``; a text that is certain has the largest odds the type can tell apart from 1."""
    import torch

    least = torch.finfo(log_probability.dtype).eps
    return log_probability - (-torch.expm1(log_probability.clamp(max=-least))).log()
