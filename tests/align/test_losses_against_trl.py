"""The base losses and their gradients equal those of TRL's own `DPOTrainer`, run on the same log-probabilities."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plait.align.beta_rules import FixedBeta
from plait.align.losses import IPO, BaseLoss, ExoPair, Hinge, PairBatch, Robust, Sigmoid
from plait.align.objectives import Objective
from plait.align.side_losses import BCO, NCA, ORPO, SPPO, APODown, APOZero

pytest.importorskip("trl")

LENGTHS = torch.tensor([[3, 5, 1, 7], [4, 2, 6, 7]])  # completion tokens of chosen and of rejected texts
WIDTH = 9  # one prompt token, then completion tokens, then padding


def token_logprobs() -> torch.Tensor:
    """Of four chosen and then four rejected texts, ``[8, WIDTH - 1]``; zero at padding, as TRL's fused head gives."""
    drawn = -torch.rand(8, WIDTH - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 4
    return drawn * completion_mask()[:, 1:]


def completion_mask() -> torch.Tensor:
    place = torch.arange(WIDTH)
    return ((place >= 1) & (place <= LENGTHS.flatten()[:, None])).long()


def reference() -> torch.Tensor:
    noise = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 2
    return token_logprobs().sum(1) + noise


def trl_loss(loss_type: str, tokens: torch.Tensor, *, beta: float, smoothing: float) -> torch.Tensor:
    """TRL's `_compute_loss` with a model that answers with given log-probabilities."""
    from trl.trainer.dpo_trainer import DPOTrainer

    def model(**_: object) -> SimpleNamespace:
        zeros = torch.zeros_like(tokens)
        return SimpleNamespace(log_probs=tokens, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())

    def same(value: torch.Tensor) -> torch.Tensor:
        return value

    trainer: Any = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather=same, gather_for_metrics=same),
        args=SimpleNamespace(),
        aux_loss_enabled=False,
        beta=beta,
        f_divergence_type="reverse_kl",
        label_smoothing=smoothing,
        ld_alpha=None,
        loss_types=[loss_type],
        loss_weights=[1.0],
        precompute_ref_logps=True,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    chosen, rejected = reference().chunk(2)
    inputs = {
        "input_ids": torch.ones(8, WIDTH, dtype=torch.long),
        "attention_mask": torch.ones(8, WIDTH, dtype=torch.long),
        "completion_mask": completion_mask(),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    compute: Any = DPOTrainer._compute_loss  # pyright: ignore[reportPrivateUsage]
    return compute(trainer, model, inputs, return_outputs=False)


def pairs(tokens: torch.Tensor) -> PairBatch:
    lengths = LENGTHS.to(tokens)
    return PairBatch(*tokens.sum(1).chunk(2), *reference().chunk(2), *lengths)


@pytest.mark.parametrize("beta", [0.1, 0.7])
@pytest.mark.parametrize(
    ("loss", "trl", "smoothing"),
    [
        (Sigmoid(), "sigmoid", 0.0),
        (Hinge(), "hinge", 0.0),
        (IPO(per_token=True), "ipo", 0.0),
        (Robust(flip_rate=0.2), "robust", 0.2),
        (ExoPair(flip_rate=0.05), "exo_pair", 0.05),
        (NCA(), "nca_pair", 0.0),
        (BCO(), "bco_pair", 0.0),
        (SPPO(), "sppo_hard", 0.0),
        (APOZero(), "apo_zero", 0.0),
        (APODown(), "apo_down", 0.0),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_loss_and_gradient_equal_trl(loss: BaseLoss, trl: str, smoothing: float, beta: float) -> None:
    theirs_tokens, our_tokens = token_logprobs().requires_grad_(), token_logprobs().requires_grad_()
    theirs = trl_loss(trl, theirs_tokens, beta=beta, smoothing=smoothing)
    ours = Objective(loss, beta=FixedBeta(value=beta))(pairs(our_tokens)).loss
    # TRL holds its label smoothing in float32.
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-7, atol=1e-9)
    for value in (theirs, ours):
        value.backward()
    mask = completion_mask()[:, 1:]
    assert our_tokens.grad is not None
    assert theirs_tokens.grad is not None
    torch.testing.assert_close(our_tokens.grad * mask, theirs_tokens.grad * mask, rtol=1e-6, atol=1e-9)


def test_odds_ratio_equals_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    batch, beta = pairs(token_logprobs()), 0.3
    chosen, rejected = batch.policy_chosen / batch.chosen_length, batch.policy_rejected / batch.rejected_length
    trainer = SimpleNamespace(beta=beta, accelerator=SimpleNamespace(device="cpu"))
    odds_ratio_loss: Any = ORPOTrainer.odds_ratio_loss
    weighted_log_sigmoid, *_ = odds_ratio_loss(trainer, chosen, rejected)
    rows = Objective(ORPO(), beta=FixedBeta(value=beta))(batch).table["loss"]
    torch.testing.assert_close((rows + chosen).float(), -weighted_log_sigmoid, rtol=1e-5, atol=1e-6)


def test_odds_ratio_of_a_certain_text_is_finite() -> None:
    zero, one = torch.zeros(1), torch.ones(1)
    batch = PairBatch(zero, -one, zero, zero, one, one)
    result, by_chosen, by_rejected = Objective(ORPO()).coefficients(batch)
    assert math.isfinite(float(result.loss))
    assert bool(torch.cat([by_chosen, by_rejected]).isfinite().all())
