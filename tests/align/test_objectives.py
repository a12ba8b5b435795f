"""Each formula by hand arithmetic, its limits, its gradients, and the state of an objective."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.align.beta_rules import BatchBeta, FixedBeta
from plait.align.losses import IPO, BaseLoss, Conservative, Hinge, PairBatch, Robust, Sigmoid, SimPO
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, Custom, DrDPO
from plait.align.reduction import LogMeanExp, Mean
from plait.align.selection import GaussianSelection, KeepAll
from plait.align.statistics import GapStatistics
from plait.core.seeds import Seeds
from plait.errors import UsageError

SEEDS = Seeds(7)
EVERY_LOSS: list[BaseLoss] = [
    Sigmoid(),
    Conservative(flip_rate=0.2),
    Robust(flip_rate=0.2),
    IPO(),
    IPO(per_token=True),
    Hinge(),
    SimPO(target_margin=0.5),
]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def pair(chosen: float, rejected: float, ref_chosen: float, ref_rejected: float, n: int, m: int) -> PairBatch:
    def one(x: float) -> torch.Tensor:
        return torch.tensor([x], dtype=torch.float64)

    return PairBatch(one(chosen), one(rejected), one(ref_chosen), one(ref_rejected), one(n), one(m))


def batch_of(gaps: list[float], dtype: torch.dtype = torch.float64) -> PairBatch:
    """Pairs with the given log-ratio gaps, half of each from either side."""
    gap = torch.tensor(gaps, dtype=dtype)
    base = -torch.arange(20, 20 + len(gaps), dtype=dtype)
    length = torch.arange(4, 4 + len(gaps), dtype=dtype)
    return PairBatch(base + gap / 2, base - gap / 2, base, base, length, length + 3)


# chosen -10 against a reference of -12 (+2), rejected -9 against -8 (-1): gap 3 nats; lengths 5 and 4.
HAND = pair(-10, -9, -12, -8, 5, 4)
Z = 0.1 * 3


@pytest.mark.parametrize(
    ("loss", "beta", "expected"),
    [
        (Sigmoid(), 0.1, -math.log(sigmoid(Z))),
        (Conservative(flip_rate=0.2), 0.1, -0.8 * math.log(sigmoid(Z)) - 0.2 * math.log(sigmoid(-Z))),
        (Robust(flip_rate=0.2), 0.1, (-0.8 * math.log(sigmoid(Z)) + 0.2 * math.log(sigmoid(-Z))) / 0.6),
        (IPO(), 0.1, (3 - 5) ** 2),
        (IPO(per_token=True), 0.1, (2 / 5 - (-1 / 4) - 5) ** 2),
        (Hinge(), 0.1, 1 - Z),
        (Hinge(), 1.0, 0.0),
        (SimPO(target_margin=0.5), 2.0, -math.log(sigmoid(2 * (-10 / 5 + 9 / 4) - 0.5))),
    ],
)
def test_base_loss_by_hand(loss: BaseLoss, beta: float, expected: float) -> None:
    result = Objective(loss, beta=FixedBeta(value=beta))(HAND)
    assert float(result.loss) == pytest.approx(expected, abs=1e-12)


def test_flip_prior_replaces_the_one_rate() -> None:
    two = batch_of([1.0, -2.0])
    mixed = replace(two, flip_prior=torch.tensor([0.0, 0.3], dtype=torch.float64))
    for kind in (Conservative, Robust):
        rows = Objective(kind(flip_rate=0.1))(mixed).table["loss"]
        assert rows[0] == Objective(kind(flip_rate=0.0))(two).table["loss"][0]
        assert rows[1] == Objective(kind(flip_rate=0.3))(two).table["loss"][1]


def test_robust_loss_is_unbiased_under_flips() -> None:
    """E over flipped labels of the rDPO loss is the clean DPO loss: what the method is for."""
    clean, flipped = batch_of([1.7]), batch_of([-1.7])
    robust = Objective(Robust(flip_rate=0.3))
    expected = 0.7 * robust(clean).loss + 0.3 * robust(flipped).loss
    torch.testing.assert_close(expected, Objective(Sigmoid())(clean).loss)


def test_rewards_and_shares_in_the_table() -> None:
    result = Objective(Sigmoid(), beta=FixedBeta(value=0.1))(HAND)
    assert float(result.table["chosen_reward"]) == pytest.approx(0.2)
    assert float(result.table["rejected_reward"]) == pytest.approx(-0.1)
    assert "chosen_reward" not in Objective(SimPO())(HAND).table
    assert not any(column.requires_grad for column in result.table.values())


@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: f"{loss.name}-{getattr(loss, 'per_token', '')}")
@pytest.mark.parametrize("reduce", [Mean(), LogMeanExp(beta_prime=0.7)], ids=["mean", "dr"])
def test_gradients_equal_finite_differences(loss: BaseLoss, reduce: Mean | LogMeanExp) -> None:
    batch = replace(batch_of([0.3, -1.2, 2.7, 0.9]), weight=torch.tensor([1.0, 2, 0.5, 1], dtype=torch.float64))
    objective = Objective(loss, beta=FixedBeta(value=0.4), reduce=reduce)

    def value(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
        return objective(replace(batch, policy_chosen=chosen, policy_rejected=rejected)).loss

    inputs = (batch.policy_chosen.requires_grad_(), batch.policy_rejected.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-7)


def test_beta_carries_no_gradient() -> None:
    """With β detached, the gradient of a β-DPO step is that of DPO at the β it chose."""
    batch = batch_of([0.5, 1.5, 4.0])
    dynamic = BetaDPO(alpha=0.6, drop=0.0).build(seeds=SEEDS)
    dynamic.statistics.update(torch.tensor([0.0, 1.0]))
    result, by_chosen, _ = dynamic.coefficients(batch)
    assert result.scalars["beta"] > 0.1
    _, fixed, _ = DPO(beta=result.scalars["beta"]).build(seeds=SEEDS).coefficients(batch)
    torch.testing.assert_close(by_chosen, fixed)


def test_coefficients_are_the_gradient() -> None:
    batch = batch_of([0.5, -1.5, 4.0])
    objective = DrDPO(beta=0.3).build(seeds=SEEDS)
    chosen = batch.policy_chosen.clone().requires_grad_()
    objective(replace(batch, policy_chosen=chosen)).loss.backward()
    result, by_chosen, by_rejected = objective.coefficients(batch)
    torch.testing.assert_close(by_chosen, chosen.grad)
    torch.testing.assert_close(by_rejected, -by_chosen)
    assert not result.loss.requires_grad


# --- Dr. DPO --------------------------------------------------------------------------------------


def test_dr_dpo_by_hand() -> None:
    """z = (3, -3), β' = 1: the numbers of the published illustration."""
    batch, objective = batch_of([3.0, -3.0]), DrDPO(beta=1.0, beta_prime=1.0).build(seeds=SEEDS)
    result, by_chosen, _ = objective.coefficients(batch)
    assert float(result.loss) == pytest.approx(-math.log((sigmoid(3) + sigmoid(-3)) / 2))
    assert by_chosen.tolist() == pytest.approx([-0.0452, -0.0452], abs=1e-4)
    assert result.table["weight"].tolist() == pytest.approx([sigmoid(3), sigmoid(-3)])
    _, plain, _ = DPO(beta=1.0).build(seeds=SEEDS).coefficients(batch)
    assert plain.tolist() == pytest.approx([-0.0237, -0.4763], abs=1e-4)


def test_dr_dpo_limits() -> None:
    batch = batch_of([0.4, -3.0, 9.0, 1.0], dtype=torch.float32)
    plain = DPO().build(seeds=SEEDS)(batch)
    large = DrDPO(beta_prime=1e6).build(seeds=SEEDS)(batch)
    assert float(large.loss) == pytest.approx(float(plain.loss), abs=1e-5)
    small = DrDPO(beta_prime=1e-4).build(seeds=SEEDS)(batch)
    assert float(small.loss) == pytest.approx(float(plain.table["loss"].min()), abs=2e-4)
    assert small.scalars["effective_pairs"] == pytest.approx(1.0)


def test_dr_dpo_of_one_pair_is_dpo() -> None:
    assert float(DrDPO(beta_prime=0.2).build(seeds=SEEDS)(HAND).loss) == pytest.approx(
        float(DPO().build(seeds=SEEDS)(HAND).loss)
    )


@pytest.mark.parametrize("beta_prime", [0.01, 0.05, 0.1])
def test_dr_dpo_stays_finite_where_the_plain_exponential_underflows(beta_prime: float) -> None:
    batch = batch_of([-900.0, -1500.0], dtype=torch.float32)
    naive = -beta_prime * torch.log(torch.exp(-Objective(Sigmoid())(batch).table["loss"] / beta_prime).mean())
    assert not naive.isfinite()
    result, by_chosen, _ = DrDPO(beta_prime=beta_prime).build(seeds=SEEDS).coefficients(batch)
    assert bool(result.loss.isfinite())
    assert bool(by_chosen.isfinite().all())


def test_dr_dpo_is_below_the_mean_not_above() -> None:
    """The sign: Dr. DPO is the optimistic tilt; its loss is never above the mean (Jensen)."""
    batch = batch_of([2.0, -5.0, 0.1])
    assert float(DrDPO().build(seeds=SEEDS)(batch).loss) < float(DPO().build(seeds=SEEDS)(batch).loss)


@given(
    gaps=st.lists(st.floats(-40, 40, allow_nan=False, width=32), min_size=2, max_size=8),
    beta_prime=st.floats(0.05, 1e4),
)
@settings(max_examples=60, deadline=None)
def test_dr_dpo_properties(gaps: list[float], beta_prime: float) -> None:
    """Between the smallest and the mean loss, and blind to the order of pairs."""
    objective = DrDPO(beta=0.5, beta_prime=beta_prime).build(seeds=SEEDS)
    result, by_chosen, _ = objective.coefficients(batch_of(gaps))
    losses = result.table["loss"]
    assert float(losses.min()) - 1e-9 <= float(result.loss) <= float(losses.mean()) + 1e-9
    order = torch.randperm(len(gaps), generator=torch.Generator().manual_seed(3))
    turned, by_turned, _ = objective.coefficients(batch_of([gaps[i] for i in order]))
    torch.testing.assert_close(turned.loss, result.loss)
    torch.testing.assert_close(by_turned, by_chosen[order])


def test_weights_multiply_a_pair() -> None:
    """Weight 2 is the pair twice, under either reduction."""
    once, twice = batch_of([1.0, -2.0]), batch_of([1.0, 1.0, -2.0])
    weighted = replace(once, weight=torch.tensor([2.0, 1.0], dtype=torch.float64))
    for preset in (DPO(), DrDPO(beta_prime=0.5)):
        objective = preset.build(seeds=SEEDS)
        torch.testing.assert_close(objective(weighted).loss, objective(twice).loss)


# --- β-DPO ----------------------------------------------------------------------------------------


def test_statistics_by_hand() -> None:
    first, second = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 9.0])
    official = GapStatistics(momentum=0.9, corrected=False)
    official.update(first)
    official.update(second)
    assert official.mean == pytest.approx(0.9 * 0.2 + 0.1 * 7)
    assert official.spread == pytest.approx(0.09 * math.sqrt(2) + 0.1 * math.sqrt(8))
    corrected = GapStatistics(momentum=0.9)
    corrected.update(first)
    corrected.update(second)
    assert corrected.mean == pytest.approx(0.88 / 0.19)


def test_statistics_ignore_what_has_no_spread_or_is_not_a_number() -> None:
    statistics = GapStatistics()
    statistics.update(torch.tensor([2.0]))
    assert (statistics.mean, statistics.spread) == (pytest.approx(2.0), 0.0)
    before = statistics.state_dict()
    statistics.update(torch.tensor([math.nan, 1.0]))
    assert statistics.state_dict() == before


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BatchBeta(value=0.1, alpha=0.6), 0.1 * (1 + 0.6 * (2.5 - 2.0))),
        (BatchBeta(value=0.1, alpha=0.6, mean_of="batch"), 0.1 * (1 + 0.6 * (5.0 - 2.0))),
        (BatchBeta(value=0.1, alpha=0.6, scale="beta"), 0.1 * (1 + 0.6 * 0.1 * (2.5 - 2.0))),
        (BatchBeta(value=0.1, alpha=50.0, smallest=0.02), 0.1 * (1 + 50 * 0.5)),
        (BatchBeta(value=0.1, alpha=0.6, smallest=0.5), 0.5),
    ],
)
def test_batch_beta_by_hand(settings: BatchBeta, expected: float) -> None:
    statistics = GapStatistics(mean_average=2.0, corrected=False)
    gaps, kept = torch.tensor([2.0, 3.0, 10.0]), torch.tensor([True, True, False])
    assert float(settings.beta(gaps, kept, statistics, step=0)) == pytest.approx(expected)


def test_beta_dpo_without_its_two_parts_is_dpo_to_the_bit() -> None:
    batch = batch_of([0.4, -3.0, 9.0, 1.0], dtype=torch.float32)
    plain, dynamic = DPO().build(seeds=SEEDS), BetaDPO(alpha=0.0, drop=0.0).build(seeds=SEEDS)
    for _ in range(3):
        a, b = plain.coefficients(batch), dynamic.coefficients(batch)
        assert torch.equal(a[0].loss, b[0].loss)
        assert torch.equal(a[1], b[1])
        assert torch.equal(a[2], b[2])


@pytest.mark.parametrize("preset", [DPO(), BetaDPO(), DrDPO(), DPO(loss=SimPO()), DPO(loss=IPO())])
def test_policy_equal_to_reference_is_finite(preset: DPO | BetaDPO | DrDPO) -> None:
    """The first step of every LoRA run; the official β-DPO code raises here."""
    result, by_chosen, _ = preset.build(seeds=SEEDS).coefficients(batch_of([0.0] * 4, torch.float32))
    assert bool(result.loss.isfinite())
    assert bool(by_chosen.isfinite().all())
    assert result.scalars["kept"] == 1.0  # no pair stands out, so none is left out


def test_selection_keeps_the_right_number_and_follows_the_published_law() -> None:
    """First draws of Gumbel top-k are distributed as the Gaussian weights say."""
    gaps = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    statistics = GapStatistics(mean_average=0.0, spread_average=1.0, spread_updates=1, corrected=False)
    select = GaussianSelection(drop=0.66)
    counts = Counter[int]()
    draws = 4000
    for step in range(draws):
        kept = select.keep(gaps, statistics, seeds=SEEDS.child(step))
        assert int(kept.sum()) == 1
        counts[int(kept.nonzero())] += 1
    weight = [1.0, math.exp(-0.5), math.exp(-4.5)]
    for i in range(3):
        assert counts[i] / draws == pytest.approx(weight[i] / sum(weight), abs=0.03)


def test_selection_works_where_the_weights_underflow() -> None:
    statistics = GapStatistics(mean_average=0.0, spread_average=1e-3, spread_updates=1, corrected=False)
    gaps = torch.tensor([5.0, 6.0, 7.0, 1.0, 8.0])
    kept = GaussianSelection(drop=0.2).keep(gaps, statistics, seeds=SEEDS)
    assert kept.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(("count", "drop", "kept"), [(10, 0.2, 8), (5, 0.4, 3), (10, 0.9, 1), (1, 0.2, 1), (3, 0.9, 1)])
def test_selection_counts(count: int, drop: float, kept: int) -> None:
    statistics = GapStatistics(mean_average=0.0, spread_average=1.0, spread_updates=1, corrected=False)
    mask = GaussianSelection(drop=drop).keep(torch.randn(count), statistics, seeds=SEEDS)
    assert int(mask.sum()) == kept


# --- state ----------------------------------------------------------------------------------------


def test_evaluation_changes_nothing_and_keeps_all() -> None:
    objective = BetaDPO(drop=0.5).build(seeds=SEEDS)
    objective(batch_of([0.5, 1.0, 4.0, 2.0]))
    state, batch = objective.state_dict(), batch_of([3.0, -1.0, 0.2, 7.0])
    objective.eval()
    first, second = objective(batch), objective(batch)
    assert objective.state_dict() == state
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.loss, DPO().build(seeds=SEEDS).eval()(batch).loss)
    assert (first.scalars["kept"], first.scalars["beta"]) == (1.0, pytest.approx(0.1))


def test_state_survives_a_checkpoint() -> None:
    """Saved as JSON after 3 of 6 batches, a fresh objective continues with the same bits."""
    generator = torch.Generator().manual_seed(5)
    batches = [batch_of((torch.randn(8, generator=generator) * 3).tolist()) for _ in range(6)]
    unbroken = BetaDPO().build(seeds=SEEDS)
    losses = [unbroken(batch).loss for batch in batches]
    first = BetaDPO().build(seeds=SEEDS)
    for batch in batches[:3]:
        first(batch)
    resumed = BetaDPO().build(seeds=SEEDS)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [float(resumed(batch).loss) for batch in batches[3:]] == [float(loss) for loss in losses[3:]]


def test_same_seed_same_selection_other_seed_other_selection() -> None:
    batch = batch_of([float(i) for i in range(16)])

    def kept(seed: int) -> list[float]:
        objective = BetaDPO(drop=0.5).build(seeds=Seeds(seed))
        return [x for _ in range(4) for x in objective(batch).table["kept"].tolist()]

    assert kept(1) == kept(1)
    assert kept(1) != kept(2)


def test_separable_only_where_pairs_do_not_meet() -> None:
    assert DPO().build(seeds=SEEDS).separable
    assert not DrDPO().build(seeds=SEEDS).separable
    assert not BetaDPO().build(seeds=SEEDS).separable


def test_any_part_composes_with_any_other() -> None:
    batch = batch_of([0.5, 1.0, -4.0, 2.0])
    for loss in EVERY_LOSS:
        for beta in (FixedBeta(), BatchBeta()):
            for select in (KeepAll(), GaussianSelection()):
                for reduce in (Mean(), LogMeanExp()):
                    custom = Custom(loss=loss, beta=beta, select=select, reduce=reduce)
                    again = Custom.model_validate_json(custom.model_dump_json())
                    result = again.build(seeds=SEEDS)(batch)
                    assert bool(result.loss.isfinite())
                    assert float(result.table["weight"].sum()) == pytest.approx(1.0)


# --- refusals -------------------------------------------------------------------------------------


def test_refuses_batches_that_mean_nothing() -> None:
    with pytest.raises(UsageError, match="no pairs"):
        Objective(Sigmoid())(batch_of([]))
    weightless = replace(batch_of([1.0, 2.0]), weight=torch.tensor([1.0, 0.0]))
    with pytest.raises(UsageError, match="positive"):
        Objective(Sigmoid())(weightless)
    with pytest.raises(ValueError, match=r"every field of a PairBatch is \[batch\]"):
        replace(batch_of([1.0, 2.0]), chosen_length=torch.ones(3))


def test_settings_import_no_torch() -> None:
    """Recipes are checked and `plait --help` is printed without paying for torch."""
    import subprocess
    import sys

    code = "import sys, plait.align.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_names_what_it_exports() -> None:
    import plait.align

    assert sorted(plait.align.__all__) == sorted(plait.align._HOME)
    for name in plait.align.__all__:
        assert getattr(plait.align, name).__module__.startswith("plait.align.")
    with pytest.raises(AttributeError, match="DPOO"):
        _ = plait.align.DPOO
