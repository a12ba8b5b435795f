"""The parts of a step add up to the step: loss, gradient, statistics and scalars, in float64 and without a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TrainerCallback

from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.losses import IPO, Conservative, SimPO
from plait.align.presets import DPO, BetaDPO, DrDPO
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.step import PairTable, Step
from plait.align.trainer import PairTrainer, training_arguments
from plait.core.seeds import Seeds
from plait.errors import ModelError

PRESETS: list[Any] = [
    DPO(),
    DPO(loss=IPO(per_token=True)),
    DPO(loss=SimPO(), beta=2.0),
    DPO(loss=Conservative()),
    BetaDPO(drop=0.25),
    DrDPO(beta_prime=0.4),
]
SIZE = 12


def table(*, weighted: bool) -> PairTable:
    pairs = random_pairs(SIZE, seed=8)
    if weighted:
        pairs = [replace(pair, weight=0.5 + n % 4, flip_prior=0.03 * n) for n, pair in enumerate(pairs)]
    draw = torch.Generator().manual_seed(0)
    values = (-10 * torch.rand(SIZE, 2, generator=draw, dtype=torch.float64)).tolist()
    made = PairTable.of(pairs, [(chosen, rejected) for chosen, rejected in values])
    doubles = {name: getattr(made, name) for name in ("reference", "lengths", "weight", "flip_prior")}
    return replace(made, **{name: value.double() for name, value in doubles.items() if value is not None})


def policy(theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of all pairs that depend on three parameters."""
    features = torch.rand(2, SIZE, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chosen, rejected = -(features * theta).exp().sum(-1)
    return chosen, rejected


def whole_step(preset: Any, *, weighted: bool, steps: int) -> tuple[list[float], torch.Tensor, dict[str, Any]]:
    """Losses, the last gradient and the state of an objective that is simply given every batch."""
    objective, known, losses = preset.build(seeds=Seeds(2)), table(weighted=weighted), list[float]()
    gradient = torch.zeros(3)
    for number in range(steps):
        theta = torch.tensor([0.1, 0.5, -0.3 + 0.2 * number], dtype=torch.float64, requires_grad=True)
        result = objective(known.batch(torch.arange(SIZE), *policy(theta)))
        [gradient] = torch.autograd.grad(result.loss, theta)
        losses.append(float(result.loss.detach()))
    return losses, gradient, objective.state_dict()


def parted_step(
    preset: Any, *, weighted: bool, steps: int, parts: int
) -> tuple[list[float], torch.Tensor, dict[str, Any], Step]:
    """The same through `Step`, as the trainer does it."""
    objective, known, losses = preset.build(seeds=Seeds(2)), table(weighted=weighted), list[float]()
    gradient = torch.zeros(3)
    rows = torch.arange(SIZE).view(parts, -1).tolist()
    for number in range(steps):
        theta = torch.tensor([0.1, 0.5, -0.3 + 0.2 * number], dtype=torch.float64, requires_grad=True)
        step = Step(objective, known, rows, number=number + 1, device=torch.device("cpu"))
        chosen, rejected = policy(theta)
        if step.looks_ahead:
            step.see([(chosen[part], rejected[part]) for part in rows])
        surrogate, loss = torch.zeros((), dtype=torch.float64), 0.0
        for n, part in enumerate(rows):
            found = step.part(n, chosen[part], rejected[part])
            surrogate = surrogate + (found.by_chosen * chosen[part] + found.by_rejected * rejected[part]).sum()
            loss += found.loss
        [gradient] = torch.autograd.grad(surrogate, theta)
        losses.append(loss)
        assert step.scalars["loss"] == pytest.approx(loss, rel=1e-6)
    return losses, gradient, objective.state_dict(), step


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: f"{p.name}-{p.loss.name}")
@pytest.mark.parametrize("weighted", [False, True])
def test_parts_add_up_to_the_step(preset: Any, weighted: bool) -> None:
    losses, gradient, state = whole_step(preset, weighted=weighted, steps=3)
    for parts in (1, 2, 4, SIZE):
        found = parted_step(preset, weighted=weighted, steps=3, parts=parts)
        assert found[0] == pytest.approx(losses, rel=1e-6)
        torch.testing.assert_close(found[1], gradient, rtol=1e-6, atol=1e-9)
        assert found[2]["steps"] == state["steps"] == 3
        assert found[2]["statistics"] == pytest.approx(state["statistics"], rel=1e-6)


@given(st.sampled_from([1, 2, 3, 4, 6, SIZE]), st.floats(0.05, 50))
@settings(deadline=None, max_examples=25)
def test_any_split_and_any_temperature(parts: int, beta_prime: float) -> None:
    preset = DrDPO(beta_prime=beta_prime)
    losses, gradient, _ = whole_step(preset, weighted=True, steps=1)
    found = parted_step(preset, weighted=True, steps=1, parts=parts)
    assert found[0] == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(found[1], gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("preset", [DrDPO(scope="running"), DrDPO(scope="micro_batch")], ids=lambda p: p.scope)
def test_weights_count_where_micro_batches_are_looked_at_one_by_one(preset: DrDPO) -> None:
    """One pair per micro-batch, all alike: three times the weight is three times the derivative."""
    reference = PairTable.of(random_pairs(2, seed=8), None)
    known = replace(reference, weight=torch.tensor([1.0, 3.0]))
    step = Step(preset.build(seeds=Seeds(2)), known, [[0], [1]], number=1, device=torch.device("cpu"))
    first, second = (step.part(n, torch.zeros(1), torch.zeros(1)) for n in range(2))
    assert float(second.by_chosen) == pytest.approx(3 * float(first.by_chosen))
    assert float(first.by_chosen + second.by_chosen) == pytest.approx(-0.1 / 2)  # σ(0) β, as a weighted mean
    assert first.loss + second.loss == pytest.approx(math.log(2))


def test_only_what_must_look_ahead_does() -> None:
    """A mean, and a batch in one part, are computed once."""
    looks = {
        (preset.name, parts): parted_step(preset, weighted=False, steps=1, parts=parts)[3].looks_ahead
        for preset in (DPO(), BetaDPO(), DrDPO())
        for parts in (1, 3)
    }
    assert {case for case, ahead in looks.items() if ahead} == {("beta_dpo", 3), ("dr_dpo", 3)}


def test_the_pairs_to_blame_are_named() -> None:
    known = table(weighted=False)
    step = Step(DPO().build(seeds=Seeds(0)), known, [list(range(SIZE))], number=7, device=torch.device("cpu"))
    chosen, rejected = policy(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ModelError, match="log-probabilities of 2 of 12 pairs are not finite at step 7") as caught:
        step.part(0, chosen.index_fill(0, torch.tensor([3, 5]), torch.nan), rejected)
    assert caught.value.where == "pairs pair-3, pair-5"


@pytest.mark.parametrize("preset", [DPO(), BetaDPO(drop=0.2), DrDPO(beta_prime=0.5)], ids=lambda p: p.name)
def test_64_pairs_give_one_gradient_however_they_are_split(tmp_path: Path, preset: Any) -> None:
    """64 at once, 16 by 4, and one by one, through the model."""
    pairs = random_pairs(64, seed=9, longest=6)
    model = lora(tiny_model(), scale=0.2)
    reference = reference_logprobs(model, pairs, cache=ReferenceCache())

    def gradient(micro: int) -> torch.Tensor:
        found: list[torch.Tensor] = []

        class Look(TrainerCallback):
            def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
                found.extend(p.grad.flatten().clone() for p in policy.parameters() if p.grad is not None)

        policy = lora(tiny_model(), scale=0.2)
        args = training_arguments(
            tmp_path / str(micro), steps=1, batch_size=64, micro_batch_size=micro, max_grad_norm=0, use_cpu=True
        )
        objective = preset.build(seeds=Seeds(3))
        made = PairTrainer(policy, args, objective=objective, pairs=pairs, reference=reference, seeds=Seeds(3))
        made.add_callback(Look())
        made.run()
        return torch.cat(found)

    whole = gradient(64)
    for micro in (16, 1):
        parted = gradient(micro)
        assert torch.nn.functional.cosine_similarity(parted, whole, dim=0) > 1 - 1e-6
        torch.testing.assert_close(parted, whole, atol=1e-6, rtol=1e-4)
