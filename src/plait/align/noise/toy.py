"""Preference training where the truth is known: many objectives, flip rates and seeds trained at once.

    worlds = make_worlds([Seeds(n) for n in range(8)], ToySize())
    results = train_together([ToyRun(draw_pairs(worlds[0], settings), flips, objective), …], settings)

All runs of a call share each forward and backward pass; each has its own weights, data, order and objective, and ends
as it would have ended alone. The objectives are those of `plait.align`: they are given log-probabilities, and what
they return is back-propagated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from pydantic import Field
from torch import Tensor

from plait.align.losses import PairBatch
from plait.align.noise.toy_model import Adam, ToySize, Weights, response_logprobs, sample, stack, unstack
from plait.align.noise.toy_world import World, gumbel
from plait.align.objectives import Objective
from plait.core.component import Component
from plait.core.seeds import Seeds
from plait.errors import UsageError

_SCORED_AT_ONCE = 500  # responses per model in a forward pass without gradient


class ToySettings(Component):
    """How the toy policies are trained and measured."""

    pairs: int = Field(default=2000, ge=2)
    """Training pairs of each run."""
    heldout: int = Field(default=500, ge=2)
    """Clean pairs that are only measured on."""
    prompts: int = Field(default=512, ge=2)
    """Prompts answered for the win rate and the KL divergence."""
    epochs: int = Field(default=8, ge=1)
    """Passes over the training pairs."""
    measured: tuple[int, ...] = (2, 8)
    """After which of them the policy is measured."""
    batch_size: int = Field(default=64, ge=1)
    """Pairs per step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Of AdamW; constant."""


@dataclass(frozen=True)
class ToyPairs:
    """Pairs of a world with their true preference, and what policies are measured with.

    Args:
        world: Where they come from.
        better: Prompt and response that r* prefers, ``[pairs, length]``.
        worse: Prompt and the other response, ``[pairs, length]``.
        reference: log π_ref of both, ``[pairs, 2]``, better first, in nats.
        heldout: Better and worse responses never trained on, ``[2, heldout, length]``.
        heldout_reference: Their log π_ref, ``[2, heldout]``.
        prompts: For samples, ``[prompts, prompt]``.
        noise: What makes the samples, ``[prompts, response, vocabulary]``: the same for all policies of a world.
        rival: r* of the reference model's answers to them, ``[prompts]``.
    """

    world: World
    better: Tensor
    worse: Tensor
    reference: Tensor
    heldout: Tensor
    heldout_reference: Tensor
    prompts: Tensor
    noise: Tensor
    rival: Tensor

    def margins(self) -> Tensor:
        """How much better the better response is under r*, ``[pairs]``."""
        return self.world.reward(self.better) - self.world.reward(self.worse)


@dataclass(frozen=True)
class ToyRun:
    """One policy to train.

    Args:
        pairs: What it is trained on and measured with.
        flipped: Which labels it is told the wrong way round, ``[pairs]``.
        objective: What it minimises; its own, never shared with another run.
        seeds: Of the order of its pairs; equal seeds give equal orders.
    """

    pairs: ToyPairs
    flipped: Tensor
    objective: Objective
    seeds: Seeds


@dataclass
class ToyMeasures:
    """A policy after some epochs.

    Args:
        epoch: When.
        accuracy: Share of held-out pairs that its implicit reward puts the right way round.
        win_rate: How often its answer has the larger r* than the reference model's; a tie is half.
        kl: KL divergence from the reference model, estimated on its own answers, in nats.
        detection: AUROC of its implicit reward on the training pairs as a detector of flips; 0.5 without any.
        precision: Share of true flips among as many lowest implicit rewards as there are flips; 0 without any.
        pull: Share of this epoch's absolute gradient coefficients that came from flipped pairs.
    """

    epoch: int
    accuracy: float
    win_rate: float
    kl: float
    detection: float
    precision: float
    pull: float


@dataclass
class ToyResult:
    """What became of a run."""

    measures: list[ToyMeasures] = field(default_factory=list[ToyMeasures])
    kept: Tensor = field(default_factory=lambda: torch.zeros(0))
    """How often each pair was learnt from, ``[pairs]``, over all epochs."""
    weights: Weights = field(default_factory=dict[str, Tensor])

    @property
    def final(self) -> ToyMeasures:
        """The last measures."""
        return self.measures[-1]


def draw_pairs(
    world: World, settings: ToySettings, *, choose: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
) -> ToyPairs:
    """Draw training pairs and measures from the reference model of a world.

    Args:
        world: Where to draw.
        settings: How many.
        choose: Makes pairs of several responses per prompt: given responses ``[8, prompts, length]`` and their
            rewards ``[8, prompts]``, the better and the worse ones, ``[prompts, length]``. Two random responses
            if left out.
    """
    responses = 2 if choose is None else 8
    train = _labelled(world, settings.pairs, "train", responses, choose or _two)
    heldout = torch.stack(_labelled(world, settings.heldout, "heldout", 2, _two))
    prompts = world.prompts(settings.prompts, "measured")
    shape = (settings.prompts, world.size.response, world.size.vocabulary)
    return ToyPairs(
        world=world,
        better=train[0],
        worse=train[1],
        reference=torch.stack([_scored(world.reference, side[None], world.size)[0] for side in train], dim=1),
        heldout=heldout,
        heldout_reference=torch.stack([_scored(world.reference, side[None], world.size)[0] for side in heldout]),
        prompts=prompts,
        noise=gumbel(shape, world.generator("policy")),
        rival=world.reward(world.samples(prompts, "rival")[0]),
    )


def train_together(
    runs: Sequence[ToyRun],
    settings: ToySettings,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ToyResult]:
    """Train policies, all at once, each from its world's reference model.

    Args:
        runs: At least one; all of one size and with `ToySettings.pairs` pairs. Memory grows with their number: about
            40 MB each at the default sizes.
        settings: Of all of them.
        on_progress: Called with (steps done, steps) after each step.

    Raises:
        UsageError: Two runs share one objective, whose state would be mixed.
    """
    if len({id(run.objective) for run in runs}) != len(runs):
        raise UsageError("two runs share an objective", code="align.toy-objective", hint="build one for each run")
    size = runs[0].pairs.world.size
    weights = stack([run.pairs.world.reference for run in runs])
    optimiser = Adam(weights, settings.learning_rate)
    told = torch.stack([_told(run) for run in runs])  # [models, pairs, 2, length], chosen first
    reference = torch.stack([_swapped(run.pairs.reference, run.flipped) for run in runs])
    models = torch.arange(len(runs))[:, None]
    steps = settings.pairs // settings.batch_size
    results = [ToyResult(kept=torch.zeros(settings.pairs)) for _ in runs]
    for epoch in range(1, settings.epochs + 1):
        pull = torch.zeros(len(runs), settings.pairs)
        orders = torch.stack([_order(run, epoch, settings.pairs) for run in runs])
        for step in range(steps):
            rows = orders[:, step * settings.batch_size : (step + 1) * settings.batch_size]
            batch = told[models, rows].transpose(1, 2).flatten(1, 2)  # [models, 2 · batch, length], chosen first
            policy = response_logprobs(weights, batch, size)
            by_policy = torch.stack(
                [
                    _coefficients(run, now, then, row, result, size)
                    for run, now, then, row, result in zip(
                        runs, policy.detach(), reference[models, rows], rows, results, strict=True
                    )
                ]
            )
            pull.scatter_add_(1, rows, by_policy[:, : settings.batch_size].abs())
            optimiser.step((by_policy * policy).sum())
            if on_progress is not None:
                on_progress((epoch - 1) * steps + step + 1, settings.epochs * steps)
        if epoch in settings.measured or epoch == settings.epochs:
            for result, measures in zip(results, _measure(runs, weights, told, reference, pull, epoch), strict=True):
                result.measures.append(measures)
    for model, result in enumerate(results):
        result.weights = unstack(weights, model)
    return results


def _coefficients(
    run: ToyRun, policy: Tensor, reference: Tensor, rows: Tensor, result: ToyResult, size: ToySize
) -> Tensor:
    """∂loss/∂log π of a step's responses, chosen first, ``[2 · batch]``."""
    chosen, rejected = policy.view(2, -1)
    length = torch.full_like(chosen, float(size.response))
    seen, by_chosen, by_rejected = run.objective.coefficients(
        PairBatch(chosen, rejected, reference[:, 0], reference[:, 1], length, length)
    )
    result.kept[rows] += seen.table["kept"]
    return torch.cat([by_chosen, by_rejected])


def _measure(
    runs: Sequence[ToyRun], weights: Weights, told: Tensor, reference: Tensor, pull: Tensor, epoch: int
) -> list[ToyMeasures]:
    size = runs[0].pairs.world.size
    heldout = torch.stack([run.pairs.heldout.flatten(0, 1) for run in runs])
    gaps = _scored(weights, heldout, size).view(len(runs), 2, -1)
    gaps = gaps - torch.stack([run.pairs.heldout_reference for run in runs])
    right = gaps[:, 0] - gaps[:, 1]
    prompts = torch.stack([run.pairs.prompts for run in runs])
    answers = sample(weights, prompts, torch.stack([run.pairs.noise for run in runs]), size)
    moved = _scored(weights, answers, size) - _scored(stack([run.pairs.world.reference for run in runs]), answers, size)
    trained = _scored(weights, told.flatten(1, 2), size).view(len(runs), -1, 2) - reference
    found: list[ToyMeasures] = []
    for n, run in enumerate(runs):
        lead = run.pairs.world.reward(answers[n]) - run.pairs.rival
        margin = trained[n, :, 0] - trained[n, :, 1]
        flips = int(run.flipped.sum())
        lowest = margin.argsort()[:flips]
        found.append(
            ToyMeasures(
                epoch=epoch,
                accuracy=_wins(right[n]),
                win_rate=_wins(lead),
                kl=float(moved[n].mean()),
                detection=_auroc(-margin, run.flipped),
                precision=float(run.flipped[lowest].float().mean()) if flips else 0.0,
                pull=float(pull[n][run.flipped].sum() / pull[n].sum()),
            )
        )
    return found


def _labelled(
    world: World,
    count: int,
    name: str,
    responses: int,
    choose: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Better and worse responses, ``[count, length]`` each; prompts whose responses are equally good are left out."""
    prompts = world.prompts(count + count // 2 + 16, name)
    drawn = world.samples(prompts, name, each=responses)
    better, worse = choose(drawn, world.reward(drawn))
    apart = (world.reward(better) > world.reward(worse)).nonzero()[:count, 0]
    return better[apart], worse[apart]


def _two(drawn: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
    first = (rewards[0] >= rewards[1])[:, None]
    return torch.where(first, drawn[0], drawn[1]), torch.where(first, drawn[1], drawn[0])


def _told(run: ToyRun) -> Tensor:
    return _swapped(torch.stack([run.pairs.better, run.pairs.worse], dim=1), run.flipped)


def _swapped(sides: Tensor, flipped: Tensor) -> Tensor:
    """``[pairs, 2, …]`` with the two sides of flipped pairs exchanged."""
    return torch.where(flipped.view(-1, *[1] * (sides.dim() - 1)), sides.flip(1), sides)


def _order(run: ToyRun, epoch: int, pairs: int) -> Tensor:
    generator = torch.Generator().manual_seed(run.seeds.child("order", epoch).integer())
    return torch.randperm(pairs, generator=generator)


def _scored(weights: Weights, tokens: Tensor, size: ToySize) -> Tensor:
    with torch.no_grad():
        parts = tokens.split(_SCORED_AT_ONCE, dim=1)
        return torch.cat([response_logprobs(weights, part, size) for part in parts], dim=1)


def _wins(leads: Tensor) -> float:
    return float((leads.sign() + 1).mean() / 2)


def _auroc(scores: Tensor, wrong: Tensor) -> float:
    """The probability that a wrong label scores higher than a right one; 0.5 where there is only one kind."""
    bad, good = scores[wrong], scores[~wrong]
    if not len(bad) or not len(good):
        return 0.5
    ordered = good.sort().values
    below = torch.searchsorted(ordered, bad, right=False) + torch.searchsorted(ordered, bad, right=True)
    return float(below.float().mean() / 2 / len(good))
