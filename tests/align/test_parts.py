"""The parts of objectives beyond DPO's own: each by hand arithmetic and at its limits."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from align.test_objectives import SEEDS, batch_of, pair, sigmoid
from plait.align.beta_rules import BatchBeta, FixedBeta, InstanceBeta, ScheduledBeta
from plait.align.losses import BaseLoss, ExoPair, PairBatch, Sigmoid
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, BetaDrDPO, Custom, DrDPO, Preset
from plait.align.reduction import Context, GroupMean, TopMean
from plait.align.selection import CutSelection, QuantileSelection
from plait.align.side_losses import BCO, NCA, ORPO, SPPO, APODown, APOZero, KTOPair
from plait.align.statistics import GapStatistics, LogNormaliser
from plait.errors import ModelError, RunError

NEW_LOSSES: list[BaseLoss] = [ExoPair(flip_rate=0.1), NCA(), BCO(), SPPO(), APOZero(), APODown(), KTOPair(), ORPO()]
PRESETS: list[Preset] = [DPO(), BetaDPO(), DrDPO(), DrDPO(scope="running"), BetaDrDPO(), BetaDPO(compat="official"),
                         DrDPO(compat="official")]  # fmt: skip


def log_sigmoid(x: float) -> float:
    return math.log(sigmoid(x))


# w = -10 + 12 = 2 and l = -14 + 13 = -1 nats, so the gap is 3; β = 0.5.
W, L, B = 2.0, -1.0, 0.5
ONE = pair(-10.0, -14.0, -12.0, -13.0, 4, 7)
ODDS = [p - math.log(1 - math.exp(p)) for p in (-10 / 4, -14 / 7)]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            ExoPair(flip_rate=0.1),
            sigmoid(1.5) * (log_sigmoid(1.5) - math.log(0.9)) + sigmoid(-1.5) * (log_sigmoid(-1.5) - math.log(0.1)),
        ),
        (NCA(), -log_sigmoid(B * W) - 0.5 * log_sigmoid(-B * W) - 0.5 * log_sigmoid(-B * L)),
        (BCO(), -log_sigmoid(B * W) - log_sigmoid(-B * L)),
        (SPPO(), (W - 1) ** 2 + (L + 1) ** 2),
        (APOZero(), 1 - sigmoid(B * W) + sigmoid(B * L)),
        (APODown(), sigmoid(B * W) + 1 - sigmoid(B * (W - L))),
        # A batch of one has moved by W on the chosen side and by 0 (at least) on the rejected one.
        (KTOPair(), (1 - sigmoid(B * W) + 1 - sigmoid(B * (W - L))) / 2),
        (ORPO(), 10 / 4 - B * log_sigmoid(ODDS[0] - ODDS[1])),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_losses_by_hand(loss: BaseLoss, expected: float) -> None:
    assert float(Objective(loss, beta=FixedBeta(value=B))(ONE).loss) == pytest.approx(expected)


def test_exo_takes_the_flip_prior_of_each_pair() -> None:
    batch = batch_of([1.0, 2.0])
    both = Objective(ExoPair())(replace(batch, flip_prior=torch.tensor([0.1, 0.3], dtype=torch.float64)))
    for row, rate in enumerate((0.1, 0.3)):
        alone = Objective(ExoPair(flip_rate=rate))(batch).table["loss"][row]
        assert float(both.table["loss"][row]) == pytest.approx(float(alone))


def test_kto_looks_at_the_batch_without_gradient() -> None:
    objective = Objective(KTOPair(), beta=FixedBeta(value=B))
    assert not objective.separable
    sides = ([-8.0, -9.0], [-9.0, -7.0], [-10.0, -10.0], [-10.0, -10.0], [3.0, 3.0], [3.0, 3.0])
    batch = PairBatch(*(torch.tensor(side, dtype=torch.float64) for side in sides))
    # w = 2, 1 and l = 1, 3: the batch has moved by 1.5 on the chosen side and by 2 on the rejected one.
    first = (1 - sigmoid(B * (2 - 2)) + 1 - sigmoid(B * (1.5 - 1))) / 2
    result, by_chosen, _ = objective.coefficients(batch)
    assert float(result.table["loss"][0]) == pytest.approx(first)
    at = sigmoid(B * (2 - 2))
    assert float(by_chosen[0]) == pytest.approx(-B * at * (1 - at) / 2 / 2)
    # The second pair counts three times: 1.25 and 2.5.
    weighted = objective(replace(batch, weight=torch.tensor([1.0, 3.0], dtype=torch.float64)))
    first = (1 - sigmoid(B * (2 - 2.5)) + 1 - sigmoid(B * (1.25 - 1))) / 2
    assert float(weighted.table["loss"][0]) == pytest.approx(first)


@pytest.mark.parametrize("loss", [*NEW_LOSSES, Sigmoid()], ids=lambda loss: loss.name)
@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: f"{p.name}-{getattr(p, 'compat', '')}")
def test_policy_equal_to_reference_is_finite(preset: Preset, loss: BaseLoss) -> None:
    batch = batch_of([0.0] * 4, torch.float32)
    result, by_chosen, by_rejected = preset.model_copy(update={"loss": loss}).build(seeds=SEEDS).coefficients(batch)
    assert math.isfinite(result.scalars["loss"])
    assert bool((by_chosen.isfinite() & by_rejected.isfinite()).all())


# --- β rules ---


def test_scheduled_beta_by_hand() -> None:
    gaps, kept, statistics = torch.zeros(2, dtype=torch.float64), torch.ones(2).bool(), GapStatistics()

    def at(step: int, shape: str) -> float:
        rule = ScheduledBeta(value=0.1, end=0.4, steps=4, shape=shape)
        return float(rule.beta(gaps, kept, statistics, step=step))

    assert [at(step, "linear") for step in (0, 1, 4, 9)] == pytest.approx([0.1, 0.175, 0.4, 0.4])
    assert at(2, "cosine") == pytest.approx(0.25)
    assert at(1, "cosine") == pytest.approx(0.1 + 0.3 * (1 - math.sqrt(0.5)) / 2)
    assert at(2, "geometric") == pytest.approx(0.2)
    objective = Objective(Sigmoid(), beta=ScheduledBeta(value=0.1, end=0.4, steps=2))
    assert [objective(batch_of([1.0, 2.0])).scalars["beta"] for _ in range(3)] == pytest.approx([0.1, 0.25, 0.4])
    assert objective.eval()(batch_of([1.0])).scalars["beta"] == pytest.approx(0.1)


def test_instance_beta_is_each_pairs_own() -> None:
    rule = InstanceBeta(value=0.1, alpha=0.5, smallest=0.02, largest=0.2)
    result = Objective(Sigmoid(), beta=rule)(batch_of([-4.0, 1.0, 6.0]))
    # The mean is 1: β is 0.1 · (1 + 0.5 · (-5, 0, 5)), cut to its bounds.
    expected = [-log_sigmoid(0.02 * -4), -log_sigmoid(0.1 * 1), -log_sigmoid(0.2 * 6)]
    assert result.table["loss"].tolist() == pytest.approx(expected)
    assert result.scalars["beta_clamped"] == pytest.approx(2 / 3)


def test_clamped_betas_are_counted_in_single_precision_too() -> None:
    statistics = GapStatistics()
    statistics.update(torch.tensor([100.0, 102.0]))
    objective = Objective(Sigmoid(), beta=BatchBeta(), statistics=statistics)
    assert objective(batch_of([0.0, 1.0], torch.float32)).scalars["beta_clamped"] == 1
    with pytest.raises(ValidationError, match="largest"):
        BatchBeta(smallest=0.1, largest=0.05)


def test_statistics_may_be_those_before_the_batch() -> None:
    after, before = (BetaDPO(alpha=0.1, drop=0, statistics=w).build(seeds=SEEDS) for w in ("after", "before"))
    for gaps in ([1.0, 3.0], [5.0, 7.0]):
        told = [objective(batch_of(gaps)).scalars["beta"] for objective in (after, before)]
    # Before: M0 = 2, so β = 0.1 (1 + 0.1 · 4). After: the corrected mean is (0.09 · 2 + 0.1 · 6) / 0.19.
    mean = (0.9 * 0.1 * 2 + 0.1 * 6) / (1 - 0.9**2)
    assert told == pytest.approx([0.1 * (1 + 0.1 * (6 - mean)), 0.1 * (1 + 0.1 * 4)])
    assert before.statistics.mean == pytest.approx(after.statistics.mean)


# --- selections ---


def test_quantile_selection_by_hand() -> None:
    gaps = torch.tensor([5.0, -3.0, 1.0, 0.0, 9.0, 2.0, 2.0, 4.0, -1.0, 3.0])
    kept = QuantileSelection(lowest=0.2, highest=0.1).keep(gaps, GapStatistics(), seeds=SEEDS)
    assert gaps[~kept].sort().values.tolist() == [-3.0, -1.0, 9.0]
    assert QuantileSelection(lowest=0.6, highest=0.3).keep(gaps[:1], GapStatistics(), seeds=SEEDS).tolist() == [True]
    with pytest.raises(ValidationError, match="leaves no pair"):
        QuantileSelection(lowest=0.5, highest=0.5)


def test_cut_selection_by_hand() -> None:
    statistics = GapStatistics()
    gaps = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0])
    assert bool(CutSelection().keep(gaps, statistics, seeds=SEEDS).all())
    statistics.update(torch.tensor([-1.0, 1.0]))  # mean 0, spread √2
    assert CutSelection(below=2, above=None).keep(gaps, statistics, seeds=SEEDS).tolist() == [False] + [True] * 4
    both = CutSelection(below=0.5, above=0.5)
    assert both.keep(gaps, statistics, seeds=SEEDS).tolist() == [False, False, True, False, False]
    assert both.keep(gaps[[0, 1]], statistics, seeds=SEEDS).tolist() == [False, True]


# --- reductions ---


def test_mean_of_groups_counts_small_groups_as_much() -> None:
    losses, weight = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([1.0, 1.0, 2.0, 5.0])
    loss, share = GroupMean().reduce(losses, weight, Context(group=torch.tensor([7, 7, 7, 2])))
    assert float(loss) == pytest.approx(((1 + 2 + 6) / 4 + 10) / 2)
    assert share.tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 4, 1 / 2])


def test_groups_are_told_apart() -> None:
    batch = replace(batch_of([1.0, -1.0, 4.0]), group=torch.tensor([0, 0, 3]))
    groups = DPO().build(seeds=SEEDS)(batch).groups
    assert {name: (g["pairs"], g["gap"], g["accuracy"]) for name, g in groups.items()} == {0: (2, 0, 0.5), 3: (1, 4, 1)}
    assert sum(g["weight"] for g in groups.values()) == pytest.approx(1)
    assert DPO().build(seeds=SEEDS)(batch_of([1.0])).groups == {}


def test_top_mean_by_hand() -> None:
    losses, weight = torch.tensor([1.0, 4.0, 2.0, 8.0]), torch.tensor([1.0, 1.0, 3.0, 1.0])
    assert float(TopMean(of="smallest", share=0.5).reduce(losses, weight, Context())[0]) == pytest.approx(7 / 4)
    loss, share = TopMean(of="largest", share=0.5).reduce(losses, weight, Context())
    assert (float(loss), share.tolist()) == (6.0, [0.0, 0.5, 0.0, 0.5])
    assert float(TopMean(share=0.1).reduce(losses, weight, Context())[0]) == 1.0


def test_normaliser_runs_in_log_space() -> None:
    normaliser = LogNormaliser(momentum=0.9)
    for value in (-900.0, -910.0):  # whose exponentials are 0
        normaliser.update(value)
    expected = -900 + math.log((0.9 * 0.1 + 0.1 * math.exp(-10)) / (1 - 0.81))
    assert normaliser.value == pytest.approx(expected)
    copy = LogNormaliser(momentum=0.9)
    copy.load_state_dict(json.loads(json.dumps(normaliser.state_dict())))
    assert copy.value == normaliser.value


def test_running_dr_dpo_follows_the_exact_weights() -> None:
    gaps = torch.randn(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 8
    exact = DrDPO().build(seeds=SEEDS)(batch_of(gaps.tolist())).table["weight"]
    running = DrDPO(scope="running").build(seeds=SEEDS)
    assert (running.scope, running.keeps_statistics) == ("micro_batch", True)
    for start in range(0, 2000, 4):  # a first pass finds the normaliser
        running(batch_of(gaps[start : start + 4].tolist()))
    derivatives = []
    for gap in gaps.tolist():
        _, by_chosen, _ = running.coefficients(batch_of([gap]))
        derivatives.append(-float(by_chosen[0]) / (0.1 * sigmoid(-0.1 * gap)))
    counted = torch.tensor(derivatives, dtype=torch.float64)
    correlation = torch.corrcoef(torch.stack([counted, exact]))[0, 1]
    assert float(correlation) > 0.95
    assert counted.mean() == pytest.approx(1, rel=0.1)
    assert counted.max() <= 5


def test_evaluation_leaves_the_normaliser_alone() -> None:
    objective = DrDPO(scope="running").build(seeds=SEEDS)
    objective(batch_of([1.0, 2.0]))
    before = objective.state_dict()
    objective.eval()(batch_of([-5.0, 9.0]))
    assert objective.state_dict() == before


# --- the authors' code ---


def test_official_dr_dpo_overflows_where_ours_does_not() -> None:
    gaps = batch_of([-1000.0, -1200.0], torch.float32)
    official = DrDPO(beta=0.1, beta_prime=0.5, compat="official").build(seeds=SEEDS)
    assert official.scope == "micro_batch"
    assert official(gaps).scalars["loss"] == math.inf
    assert math.isfinite(DrDPO(beta=0.1, beta_prime=0.5).build(seeds=SEEDS)(gaps).scalars["loss"])
    mild = batch_of([1.0, -2.0, 3.0])
    both = [DrDPO(compat=c).build(seeds=SEEDS)(mild).scalars["loss"] for c in ("official", "plait")]
    assert both[0] == pytest.approx(both[1])


def test_beta_dr_dpo_is_both() -> None:
    gaps = [0.5, 1.0, -0.5, 2.0]
    whole = BetaDrDPO(alpha=0.6, drop=0, beta_prime=1e6).build(seeds=SEEDS)(batch_of(gaps)).scalars["loss"]
    assert whole == pytest.approx(
        BetaDPO(alpha=0.6, drop=0).build(seeds=SEEDS)(batch_of(gaps)).scalars["loss"], rel=1e-5
    )
    plain = BetaDrDPO(alpha=0, drop=0, beta_prime=0.7).build(seeds=SEEDS)(batch_of(gaps)).scalars["loss"]
    assert plain == pytest.approx(DrDPO(beta_prime=0.7).build(seeds=SEEDS)(batch_of(gaps)).scalars["loss"])


# --- what is refused ---


def test_log_probabilities_that_are_not_finite_leave_the_state_alone() -> None:
    objective = BetaDPO().build(seeds=SEEDS)
    objective(batch_of([1.0, 2.0]))
    before = objective.state_dict()
    bad = batch_of([1.0, 2.0, 3.0])
    bad = replace(bad, policy_chosen=bad.policy_chosen.index_fill(0, torch.tensor([1]), math.nan))
    with pytest.raises(ModelError, match=r"positions 1 of the batch: the log-probabilities of 1 of 3 pairs are not"):
        objective(bad)
    assert objective.state_dict() == before


def test_the_state_of_another_objective_is_refused() -> None:
    state = json.loads(json.dumps(DrDPO().build(seeds=SEEDS).state_dict()))
    DrDPO().build(seeds=SEEDS).load_state_dict(state)
    with pytest.raises(RunError, match=r"its reduce is .*align\.other-objective"):
        DPO().build(seeds=SEEDS).load_state_dict(state)


def test_every_part_can_be_chosen_by_name() -> None:
    custom = Custom.model_validate(
        {
            "loss": {"name": "orpo"},
            "beta": {"name": "scheduled", "end": 0.05},
            "select": {"name": "quantile", "lowest": 0.2},
            "reduce": {"name": "top", "of": "largest"},
        }
    )
    assert math.isfinite(custom.build(seeds=SEEDS)(batch_of([1.0, -1.0, 0.5])).scalars["loss"])
