"""All parts with one another: gradients by finite differences, splits of a batch, and each rule by hand arithmetic."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch

from plait.align.beta_rules import BatchBeta, BetaRule, FixedBeta, InstanceBeta, ScheduledBeta
from plait.align.losses import BaseLoss, PairBatch, Sigmoid
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, BetaDrDPO, DrDPO, Loss, ObjectiveSettings
from plait.align.reduction import GroupMean, LogMeanExp, Mean, Reduction, RunningLogMeanExp, TopMean
from plait.align.selection import CutSelection, GaussianSelection, KeepAll, QuantileSelection, Selection
from plait.align.statistics import GapStatistics
from plait.core.seeds import Seeds

SEEDS = Seeds(4)
LOSSES: list[BaseLoss] = [kind() for kind in get_args(get_args(Loss)[0])]
REDUCTIONS: list[Reduction] = [
    Mean(),
    GroupMean(),
    TopMean(of="largest", share=0.5),
    TopMean(of="smallest", share=0.5),
    LogMeanExp(beta_prime=0.7),
    LogMeanExp(beta_prime=0.7, stable=False),
]


def some_batch(size: int = 6, *, coupled: bool = True) -> PairBatch:
    """Pairs with weights and groups, none of them alike."""
    generator = torch.Generator().manual_seed(size)
    draw = [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(5)]
    length = torch.arange(4, 4 + size, dtype=torch.float64)
    base = -2.0 * length
    batch = PairBatch(base + draw[0], base + draw[1] - 1, base + draw[2], base + draw[3] - 1, length, length + 2)
    return replace(batch, weight=draw[4].exp(), group=torch.arange(size) % 3) if coupled else batch


@pytest.mark.parametrize("reduce", REDUCTIONS, ids=lambda r: f"{r.name}-{getattr(r, 'of', getattr(r, 'stable', ''))}")
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.separable], ids=lambda loss: loss.name)
def test_gradients_equal_finite_differences(loss: BaseLoss, reduce: Reduction) -> None:
    """Of all but ``kto_pair``, whose baseline moves with finite differences and yet carries no gradient."""
    batch = some_batch()
    objective = Objective(loss, beta=FixedBeta(value=0.4), reduce=reduce).eval()

    def value(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return objective(replace(batch, policy_chosen=chosen, policy_rejected=rejected)).loss

    inputs = (batch.policy_chosen.requires_grad_(), batch.policy_rejected.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("size", [1, 4])
def test_a_mean_over_parts_is_the_mean(loss: BaseLoss, size: int) -> None:
    """What `separable` says: parts weighted by their share add up to the whole gradient, and only then."""
    whole, objective = some_batch(32, coupled=False), Objective(loss)
    _, exact, _ = objective.coefficients(whole)
    rows = torch.arange(32).split(size)
    parts = [replace(whole, **{n: t[r] for n, t in vars(whole).items() if t is not None}) for r in rows]
    together = torch.cat([objective.coefficients(part)[1] * len(part) / 32 for part in parts])
    assert torch.allclose(together, exact, rtol=1e-9, atol=1e-12) == objective.separable


@pytest.mark.parametrize(
    ("beta", "select", "reduce"),
    list(
        itertools.product(
            [FixedBeta(), ScheduledBeta(), BatchBeta(), InstanceBeta()],
            [KeepAll(), GaussianSelection(), QuantileSelection(), CutSelection(below=1.0, above=1.0)],
            [*REDUCTIONS, RunningLogMeanExp()],
        )
    ),
)
def test_any_composition_is_finite_and_blind_to_order(beta: BetaRule, select: Selection, reduce: Reduction) -> None:
    batch = some_batch(9)
    result = Objective(Sigmoid(), beta=beta, select=select, reduce=reduce, seeds=SEEDS)(batch)
    assert bool(result.loss.isfinite())
    assert float(result.table["weight"].sum()) == pytest.approx(1.0)
    assert bool((result.table["weight"][result.table["kept"] == 0] == 0).all())
    assert sum(group["weight"] for group in result.groups.values()) == pytest.approx(1.0)
    if isinstance(select, GaussianSelection):
        return  # its draw goes by position
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    turned = replace(batch, **{name: value[order] for name, value in vars(batch).items() if value is not None})
    again = Objective(Sigmoid(), beta=beta, select=select, reduce=reduce, seeds=SEEDS)(turned)
    torch.testing.assert_close(again.loss, result.loss)
    torch.testing.assert_close(again.table["weight"], result.table["weight"][order])


@pytest.mark.parametrize(
    "preset", [DPO(), BetaDPO(), DrDPO(), DrDPO(scope="running"), BetaDrDPO()], ids=lambda p: p.name
)
def test_evaluation_leaves_the_state(preset: ObjectiveSettings) -> None:
    objective = preset.build(seeds=SEEDS)
    objective(some_batch())
    state = objective.state_dict()
    first, second = (objective.eval()(some_batch(8)) for _ in range(2))
    assert objective.state_dict() == state
    assert torch.equal(first.loss, second.loss)


def test_beta_dr_dpo_is_its_two_parts() -> None:
    batch = some_batch(12)
    both = BetaDrDPO(beta_prime=0.8).build(seeds=SEEDS)(batch)
    alone = BetaDPO().build(seeds=SEEDS)(batch)
    assert torch.equal(both.table["kept"], alone.table["kept"])
    assert both.scalars["beta"] == alone.scalars["beta"]
    kept, prior = alone.table["kept"].bool(), batch.weight
    assert prior is not None
    exponential = prior[kept] * torch.exp(-alone.table["loss"][kept] / 0.8)
    torch.testing.assert_close(both.loss, -0.8 * (exponential.sum() / prior[kept].sum()).log())
    barely = BetaDrDPO(beta_prime=1e6).build(seeds=SEEDS)(batch)
    assert float(barely.loss) == pytest.approx(float(alone.loss), abs=1e-5)


def test_instance_beta_by_hand() -> None:
    gaps = torch.tensor([-30.0, 1.0, 2.0, 40.0], dtype=torch.float64)
    statistics = GapStatistics(mean_average=1.0, corrected=False)
    rule = InstanceBeta(value=0.1, alpha=0.6, smallest=0.01, largest=0.5)
    beta = rule.beta(gaps, torch.ones(4, dtype=torch.bool), statistics, step=0)
    assert beta.tolist() == pytest.approx([0.01, 0.1, 0.16, 0.5])
    assert rule.clamped(beta) == 0.5


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [0.4, 0.3, 0.2, 0.2]),
        ("cosine", [0.4, 0.3, 0.2, 0.2]),
        ("geometric", [0.4, math.sqrt(0.08), 0.2, 0.2]),
    ],
)
def test_scheduled_beta_by_hand(shape: str, expected: list[float]) -> None:
    rule = ScheduledBeta.model_validate({"value": 0.4, "end": 0.2, "steps": 10, "shape": shape})
    gaps = torch.zeros(2, dtype=torch.float64)
    kept = torch.ones(2, dtype=torch.bool)
    found = [float(rule.beta(gaps, kept, GapStatistics(), step=step)) for step in (0, 5, 10, 99)]
    assert found == pytest.approx(expected)


def test_scheduled_beta_follows_training_batches_alone() -> None:
    objective = Objective(Sigmoid(), beta=ScheduledBeta(value=0.4, end=0.2, steps=4))
    seen = [objective(some_batch()).scalars["beta"]]
    assert objective.eval()(some_batch()).scalars["beta"] == pytest.approx(0.4)
    seen += [objective.train()(some_batch()).scalars["beta"] for _ in range(2)]
    assert seen == pytest.approx([0.4, 0.35, 0.3])


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (QuantileSelection(lowest=0.25, highest=0.25), [2.0, 3.0]),
        (QuantileSelection(lowest=0.5, highest=0.0), [3.0, 9.0]),
        (QuantileSelection(lowest=0.0, highest=0.75), [-5.0]),
        (CutSelection(below=2.0, above=None), [2.0, 3.0, 9.0]),
        (CutSelection(below=None, above=2.0), [-5.0, 2.0, 3.0]),
        (CutSelection(below=0.1, above=0.1), [2.0]),
    ],
)
def test_selections_by_hand(select: Selection, expected: list[float]) -> None:
    gaps = torch.tensor([3.0, -5.0, 9.0, 2.0])
    statistics = GapStatistics(mean_average=2.25, spread_average=2.0, spread_updates=1, corrected=False)
    assert sorted(gaps[select.keep(gaps, statistics, seeds=SEEDS)].tolist()) == expected


def test_reductions_by_hand() -> None:
    """Gaps whose losses at β = 1 are in the order of the pairs; groups of three and of one."""
    gap = torch.tensor([3.0, 1.0, -1.0, -3.0], dtype=torch.float64)
    loss = torch.log1p(torch.exp(-gap)).tolist()
    zero, one = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    batch = PairBatch(gap, zero, zero, zero, one, one, group=torch.tensor([0, 0, 0, 7]))

    def reduced(reduce: Reduction) -> float:
        return float(Objective(Sigmoid(), beta=FixedBeta(value=1.0), reduce=reduce)(batch).loss)

    assert reduced(TopMean(of="largest", share=0.5)) == pytest.approx((loss[2] + loss[3]) / 2)
    assert reduced(TopMean(of="smallest", share=0.75)) == pytest.approx(sum(loss[:3]) / 3)
    assert reduced(TopMean(of="smallest", share=0.1)) == pytest.approx(loss[0])
    assert reduced(GroupMean()) == pytest.approx((sum(loss[:3]) / 3 + loss[3]) / 2)
    groups = Objective(Sigmoid(), reduce=GroupMean())(batch).groups
    assert groups[7] == {"pairs": 1.0, "gap": -3.0, "accuracy": 0.0, "weight": 0.5}
    assert groups[0]["accuracy"] == pytest.approx(2 / 3)
