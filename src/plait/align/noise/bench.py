"""The noise experiment: every method at every flip rate over several seeds, with paired intervals.

Policies of one seed share the language, the reference model, the pairs, the flips and the order; so methods are
compared pair by pair of runs, and the intervals are of their differences.

Source: the protocol of Wu et al. 2024, Dr. DPO (arXiv 2407.07880), symmetric flips of the training labels only, here
with a known reward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plait.align.beta_rules import FixedBeta
from plait.align.evaluate import Interval
from plait.align.losses import IPO, Conservative, Robust, Sigmoid
from plait.align.noise.toy import ToyMeasures, ToyPairs, ToyRun, ToySettings, draw_pairs, train_together
from plait.align.noise.toy_model import ToySize
from plait.align.noise.toy_world import make_worlds
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, DrDPO, ObjectiveSettings
from plait.align.reduction import Context, Reduction
from plait.core.seeds import Seeds

_RESAMPLES = 10_000


class WrongSign(Reduction):
    """``β' log mean exp(+loss/β')``: the opposite of Dr. DPO, found in the wild; a control that should not help."""

    beta_prime: float = 1.0
    """β', in nats."""

    def reduce(self, losses: Tensor, weight: Tensor, context: Context) -> tuple[Tensor, Tensor]:  # noqa: ARG002, D102
        logits = losses / self.beta_prime + (weight / weight.sum()).log()
        return self.beta_prime * torch.logsumexp(logits, 0), logits.detach().softmax(0)


Method = Callable[[float, Seeds], Objective]
"""The objective for a flip rate; of the rate only methods that need it make use."""


def _preset(settings: Callable[[float], ObjectiveSettings]) -> Method:
    return lambda rate, seeds: settings(rate).build(seeds=seeds)


METHODS: Mapping[str, Method] = {
    "DPO": _preset(lambda _: DPO()),
    "Dr. DPO β'=1": _preset(lambda _: DrDPO(beta_prime=1.0)),
    "Dr. DPO wrong sign": lambda _, seeds: Objective(Sigmoid(), beta=FixedBeta(), reduce=WrongSign(), seeds=seeds),
    "rDPO true ε": _preset(lambda rate: DPO(loss=Robust(flip_rate=rate))),
    "cDPO ε≥0.1": _preset(lambda rate: DPO(loss=Conservative(flip_rate=max(rate, 0.1)))),
    "IPO τ=0.1": _preset(lambda _: DPO(loss=IPO())),
    "β-DPO raw scale": _preset(lambda _: BetaDPO(scale="raw")),
    "β-DPO paper scale": _preset(lambda _: BetaDPO(scale="beta")),
    "filter only": _preset(lambda _: BetaDPO(alpha=0.0)),
}
"""The methods of the experiment by name; all with β = 0.1."""


@dataclass(frozen=True)
class Cell:
    """A method at a flip rate.

    Args:
        method: Its name.
        rate: The nominal share of flipped training labels.
        measures: After which epoch → one entry per seed.
    """

    method: str
    rate: float
    measures: Mapping[int, Sequence[ToyMeasures]]

    def values(self, measure: str, *, epoch: int | None = None) -> list[float]:
        """A measure by seed, at the end or after an epoch."""
        return [float(getattr(m, measure)) for m in self.measures[epoch or max(self.measures)]]


def run_experiment(
    *,
    seeds: int,
    rates: Sequence[float],
    methods: Mapping[str, Method] = METHODS,
    settings: ToySettings | None = None,
    size: ToySize | None = None,
    root: Seeds,
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> list[Cell]:
    """Train all methods at all rates over all seeds, those of one seed and rate together.

    Args:
        seeds: How many languages, rewards and flips.
        rates: Shares of flipped training labels.
        methods: Name → objective.
        settings: How long and on how much.
        size: Of the policies.
        root: Root of all streams.
        on_progress: Called with (what, steps done, steps).
    """
    settings, size = settings or ToySettings(), size or ToySize()
    on_progress("training reference models", 0, 0)
    worlds = make_worlds([root.child("world", n) for n in range(seeds)], size)
    collected: dict[tuple[str, float], dict[int, list[ToyMeasures]]] = {(m, r): {} for r in rates for m in methods}
    steps = settings.epochs * (settings.pairs // settings.batch_size)
    total = seeds * len(rates) * steps
    for n, world in enumerate(worlds):
        pairs = draw_pairs(world, settings)
        for index, rate in enumerate(rates):
            before = (n * len(rates) + index) * steps
            runs = [method_run(pairs, method, rate, world.seeds) for method in methods.values()]
            results = train_together(
                runs, settings, on_progress=lambda done, _, before=before: on_progress("training", before + done, total)
            )
            for name, result in zip(methods, results, strict=True):
                for measures in result.measures:
                    collected[name, rate].setdefault(measures.epoch, []).append(measures)
    return [Cell(method, rate, measures) for (method, rate), measures in collected.items()]


def method_run(pairs: ToyPairs, method: Method, rate: float, seeds: Seeds) -> ToyRun:
    """One policy: flips nested over rates (what is flipped at 10 % is flipped at 20 % too), one order for all."""
    draw = torch.rand(len(pairs.better), generator=torch.Generator().manual_seed(seeds.child("flips").integer()))
    return ToyRun(pairs, draw < rate, method(rate, seeds.child("objective")), seeds.child("order"))


def paired(first: Sequence[float], second: Sequence[float], *, seeds: Seeds) -> Interval:
    """Mean of first minus second, seed by seed, with a 95 % bootstrap-t interval over seeds.

    With as few seeds as here a percentile interval is too narrow: each resample is studentised, and where a resample
    does not vary at all (few seeds) it is left out. One seed has no interval, nor have seeds that all differ by the
    same: how far others would is not known.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 12.5.

    Example:
        >>> paired([0.7, 0.8, 0.9, 0.8], [0.6, 0.7, 0.7, 0.7], seeds=Seeds(0)).value
        0.125
    """
    import numpy as np

    lead = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    mean, count = round(float(lead.mean()), 12), len(lead)
    error = float(lead.std(ddof=1)) / count**0.5 if count > 1 else float("nan")
    if count == 1 or error == 0:
        return Interval(mean, -np.inf, np.inf)
    rows = seeds.child("paired").numpy().integers(count, size=(_RESAMPLES, count))
    drawn = lead[rows]
    errors = drawn.std(axis=1, ddof=1) / count**0.5
    varied = errors > 0
    studentised = (drawn[varied].mean(axis=1) - lead.mean()) / errors[varied]
    low, high = np.quantile(studentised, [0.025, 0.975])
    return Interval(mean, float(mean - high * error), float(mean - low * error))


def table(cells: Sequence[Cell], *, seeds: Seeds, baseline: str = "DPO") -> tuple[list[str], list[list[str]]]:
    """Columns and rows: accuracy, its paired difference to the baseline, win rate, KL, detection, pull."""
    columns = ["flips", "method", "accuracy", f"against {baseline} (95 %)", "win rate", "KL (nats)", "AUROC", "pull"]
    by_name = {(cell.method, cell.rate): cell for cell in cells}
    rows: list[list[str]] = []
    for cell in cells:
        lead = paired(
            cell.values("accuracy"), by_name[baseline, cell.rate].values("accuracy"), seeds=seeds.child(cell.method)
        )
        mean = {name: _mean(cell.values(name)) for name in ("accuracy", "win_rate", "kl", "detection", "pull")}
        rows.append(
            [
                f"{cell.rate:.0%}",
                cell.method,
                f"{mean['accuracy']:.3f}",
                "" if cell.method == baseline else difference(lead),
                f"{mean['win_rate']:.3f}",
                f"{mean['kl']:.1f}",
                f"{mean['detection']:.3f}" if cell.rate else "",
                f"{mean['pull']:.2f}" if cell.rate else "",
            ]
        )
    return columns, rows


def difference(lead: Interval) -> str:
    """A signed difference with its interval, if it has one."""
    if lead.low == -float("inf"):
        return f"{lead.value:+.3f}"
    return f"{lead.value:+.3f} ({lead.low:+.3f} to {lead.high:+.3f})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
