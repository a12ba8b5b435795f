"""``compat: official`` against the published order of work in our own words, and the default form."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from plait.align.losses import PairBatch
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, BetaDrDPO, DrDPO, ObjectiveSettings
from plait.align.selection import GaussianSelection
from plait.align.statistics import GapStatistics
from plait.core.seeds import Seeds
from plait.errors import ModelError, PlaitError

SEEDS = Seeds(11)


def batch_of(gap: torch.Tensor) -> PairBatch:
    base = -torch.arange(20, 20 + len(gap), dtype=gap.dtype)
    length = torch.arange(4, 4 + len(gap), dtype=gap.dtype)
    return PairBatch(base + gap / 2, base - gap / 2, base, base, length, length + 3)


def some_batches(count: int, size: int = 10) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    for _ in range(count):
        yield torch.randn(size, generator=generator, dtype=torch.float64) * 4 + 1


def test_official_beta_dpo_step_by_step() -> None:
    """Averages from zero move first, then the filter, then β from the kept pairs, then the mean over them."""
    objective = BetaDPO(beta=0.1, alpha=0.6, drop=0.2, compat="official").build(seeds=SEEDS)
    assert objective.scope == "micro_batch"
    mean = spread = 0.0
    for micro_batch, gap in enumerate(some_batches(6)):
        if micro_batch == 3:
            objective.eval()  # the official code knows no difference
        result = objective(batch_of(gap))
        mean = 0.9 * mean + 0.1 * float(gap.mean())
        spread = 0.9 * spread + 0.1 * float(gap.std())
        assert objective.statistics.mean == pytest.approx(mean)
        assert objective.statistics.spread == pytest.approx(spread)
        kept = result.table["kept"].bool()
        assert int(kept.sum()) == int(10 * (1 - 0.2))
        beta = max(1e-3, 0.1 * (1 + 0.6 * (float(gap[kept].mean()) - mean)))
        assert result.scalars["beta"] == pytest.approx(beta)
        expected = sum(math.log1p(math.exp(-beta * g)) for g in gap[kept].tolist()) / int(kept.sum())
        assert float(result.loss) == pytest.approx(expected)


def test_official_dr_dpo_is_the_unshifted_formula_and_overflows() -> None:
    objective = DrDPO(beta=0.5, beta_prime=0.7, compat="official").build(seeds=SEEDS)
    assert objective.scope == "micro_batch"
    gap = next(some_batches(1))
    losses = [math.log1p(math.exp(-0.5 * g)) for g in gap.tolist()]
    expected = -0.7 * math.log(sum(math.exp(-loss / 0.7) for loss in losses) / len(losses))
    assert float(objective(batch_of(gap)).loss) == pytest.approx(expected)
    corrected = DrDPO(beta=0.5, beta_prime=0.7).build(seeds=SEEDS)
    assert (float(corrected(batch_of(gap)).loss), corrected.scope) == (pytest.approx(expected), "step")
    far = batch_of(torch.tensor([-200.0, -300.0]))
    assert not bool(DrDPO(beta_prime=0.05, compat="official").build(seeds=SEEDS)(far).loss.isfinite())
    assert bool(DrDPO(beta_prime=0.05).build(seeds=SEEDS)(far).loss.isfinite())


def test_default_beta_dpo_starts_at_its_first_batch() -> None:
    gap = next(some_batches(1))
    official, default = (BetaDPO(compat=compat).build(seeds=SEEDS) for compat in ("official", "plait"))
    for objective in (official, default):
        objective(batch_of(gap))
    assert official.statistics.mean == pytest.approx(0.1 * float(gap.mean()))
    assert default.statistics.mean == pytest.approx(float(gap.mean()))
    before = default.state_dict()
    default.eval()(batch_of(gap * 2))
    assert default.state_dict() == before


def test_statistics_of_the_batches_before() -> None:
    objective = BetaDPO(drop=0.0, statistics="before").build(seeds=SEEDS)
    first, second = some_batches(2)
    objective(batch_of(first))
    result = objective(batch_of(second))
    expected = max(1e-3, 0.1 * (1 + 0.6 * float(second.mean() - first.mean())))
    assert result.scalars["beta"] == pytest.approx(expected)


@pytest.mark.parametrize("drop", [0.25, 0.5])
def test_gumbel_top_k_has_the_law_of_torch_multinomial(drop: float) -> None:
    """Every subset of pairs is drawn about as often as by a multinomial draw without replacement."""
    gaps = torch.tensor([-1.0, 0.2, 0.9, 2.0], dtype=torch.float64)
    statistics = GapStatistics(mean_average=0.3, spread_average=1.1, spread_updates=1, corrected=False)
    select, draws, count = GaussianSelection(drop=drop), 6000, int(4 * (1 - drop))
    ours = Counter(
        tuple(select.keep(gaps, statistics, seeds=SEEDS.child(step)).nonzero().flatten().tolist())
        for step in range(draws)
    )
    weights = torch.exp(-((gaps - 0.3) ** 2) / (2 * 1.1**2)).expand(draws, 4)
    drawn = torch.multinomial(weights, count, replacement=False, generator=torch.Generator().manual_seed(5))
    theirs = Counter(tuple(sorted(row)) for row in drawn.tolist())
    assert ours.keys() == theirs.keys()
    for subset in theirs:  # five standard errors of a difference of two shares
        share = (ours[subset] + theirs[subset]) / (2 * draws)
        assert abs(ours[subset] - theirs[subset]) / draws < 5 * math.sqrt(2 * share * (1 - share) / draws)


@pytest.mark.parametrize(
    "preset", [DPO(), BetaDPO(), DrDPO(), DrDPO(scope="running"), BetaDrDPO()], ids=lambda preset: str(preset.name)
)
def test_log_probabilities_that_are_not_finite_leave_the_state_alone(preset: ObjectiveSettings) -> None:
    objective: Objective = preset.build(seeds=SEEDS)
    first, second = some_batches(2)
    objective(batch_of(first))
    state = copy.deepcopy(objective.state_dict())
    second[[1, 4]] = torch.tensor([math.nan, math.inf], dtype=torch.float64)
    with pytest.raises(ModelError, match="2 of 10 pairs are not finite") as caught:
        objective(batch_of(second))
    assert caught.value.code == "align.logprobs-not-finite"
    assert caught.value.where is not None
    assert "1, 4" in caught.value.where
    assert objective.state_dict() == state


def test_state_of_another_objective_is_refused() -> None:
    state = BetaDPO().build(seeds=SEEDS).state_dict()
    with pytest.raises(PlaitError) as caught:
        DrDPO().build(seeds=SEEDS).load_state_dict(state)
    assert caught.value.code == "align.other-objective"


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize(
    "preset", [DPO(), BetaDPO(), DrDPO(), DrDPO(scope="running"), BetaDrDPO()], ids=lambda preset: str(preset.name)
)
def test_the_smallest_batches_and_a_policy_that_is_its_reference(preset: ObjectiveSettings, size: int) -> None:
    objective: Objective = preset.build(seeds=SEEDS)
    for _ in range(3):
        result, by_chosen, by_rejected = objective.coefficients(batch_of(torch.zeros(size)))
        assert float(result.loss) == pytest.approx(math.log(2), rel=1e-5)
        torch.testing.assert_close(by_chosen, torch.full((size,), -0.05 / size))
        torch.testing.assert_close(by_rejected, -by_chosen)


def test_running_dr_dpo_comes_close_to_the_exact_weights_one_pair_at_a_time() -> None:
    generator = torch.Generator().manual_seed(8)
    gap = torch.randn(512, generator=generator, dtype=torch.float64) * 3
    running = DrDPO(beta=0.5, scope="running").build(seeds=SEEDS)
    for _ in range(4):  # the normaliser forgets a batch in about ten
        for part in gap.split(32):
            running(batch_of(part))
    _, exact, _ = DrDPO(beta=0.5).build(seeds=SEEDS).coefficients(batch_of(gap))
    one_by_one = torch.cat([running.coefficients(batch_of(g[None]))[1] for g in gap]) / len(gap)
    similarity = torch.nn.functional.cosine_similarity(exact, one_by_one, dim=0)
    assert float(similarity) > 0.9
    _, plain, _ = DPO(beta=0.5).build(seeds=SEEDS).coefficients(batch_of(gap))
    assert float(similarity) > float(torch.nn.functional.cosine_similarity(exact, plain, dim=0))
