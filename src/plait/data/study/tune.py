"""Search thresholds and mixture weights for the best corpus; a trial asks the stats table and nothing else.

Data-Juicer runs the whole recipe for each trial; here a trial is a few comparisons of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from plait.core.optional import require
from plait.data.op import RangeFilter
from plait.data.study.criteria import Criterion, bounded_sides, pick, thresholds, with_bounds
from plait.data.study.facts import Fact
from plait.data.study.what_if import WhatIf
from plait.errors import DataError, UsageError

Objective = Literal["quality", "volume and quality"]
"""``quality``: the mean score of what is kept, as in Data-Juicer's tool. ``volume and quality``: n/N + that mean, the
target of the paper's mixture example, n of N rows being kept."""

_EVEN = (0.0, 0.02, 0.1)
_WIDEST = 0.5  # share of the rows that a threshold may cut off at most


class Trial(Fact):
    """A point that was tried."""

    value: float
    """The objective."""
    volume: float
    """Share of the rows that it keeps, n/N."""
    quality: float
    """Mean score of those."""


class Tuned(Fact):
    """The best point of a search."""

    objective: str
    """What was maximised."""
    best: Trial
    """The best point."""
    start: Trial
    """The recipe as it is, with all of each source."""
    settings: dict[str, dict[str, float | int]]
    """By filter: its best settings; empty if nothing tried is better than the recipe as it is."""
    mixture: dict[str, float]
    """By source: the share of its rows to take, if mixtures were searched."""
    trials: list[Trial]
    """All points, in the order they were tried."""
    front: list[int]
    """Places in `trials` of those that no other beats in both volume and quality, by volume."""


def tune(
    what_if: WhatIf,
    *,
    quality: str,
    objective: Objective = "volume and quality",
    filters: Sequence[str] | None = None,
    mixture: bool = False,
    least_volume: float = 0.0,
    trials: int = 100,
    seed: int = 0,
) -> Tuned:
    """Search with optuna's tree-structured Parzen estimator.

    A threshold is searched as the share of rows that it cuts off its tail, so that all are alike to the search.
    The weight of a source is the share of its rows that is taken, at random, as in Data-Juicer's mixtures.

    Args:
        what_if: Stats and filters.
        quality: Column of the scores, 0 to 1 if they are to weigh as much as the volume.
        objective: What to maximise.
        filters: Names of the filters whose thresholds move; all that bound something if not given.
        mixture: Whether to search the weights of sources too.
        least_volume: Share of the rows that must stay.
        trials: Points to try.
        seed: Equal seeds give equal searches.

    Source: Akiba et al. 2019, "Optuna"; Chen et al. 2024, "Data-Juicer", section on hyper-parameter optimisation.
    """
    optuna = require("optuna", extra="data", feature="tuning")
    search = _Search(what_if, quality, objective, filters, mixture=mixture, least_volume=least_volume)
    shown = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        # Chance seldom cuts little off many tails at once, so points that do so evenly are tried first.
        first = [search.start(), *(search.even(share) for share in _EVEN)]
        for point in first[:trials]:
            study.enqueue_trial(point)
        study.optimize(search.run, n_trials=trials)
    finally:
        optuna.logging.set_verbosity(shown)
    tried = [Trial.model_validate(t.user_attrs["trial"]) for t in study.trials]
    best, whole = tried[study.best_trial.number], dict.fromkeys(search.sources, 1.0)
    start = search.measure({}, whole)
    settings, weights = search.read(study.best_trial.params)
    if start.value >= best.value:
        # The search reaches the recipe as it is only about, and not at all where a bound cuts off more than it may.
        best, settings, weights = start, {}, whole
    return Tuned(
        objective=objective,
        best=best,
        start=start,
        settings=settings,
        mixture=weights if mixture else {},
        trials=tried,
        front=_front(tried),
    )


class _Search:
    """What is searched and how a point is measured."""

    def __init__(
        self,
        what_if: WhatIf,
        quality: str,
        objective: Objective,
        names: Sequence[str] | None,
        *,
        mixture: bool,
        least_volume: float,
    ) -> None:
        self.what_if, self.objective, self.least_volume = what_if, objective, least_volume
        self.scores = what_if.table.numbers(quality)
        if not np.isfinite(self.scores[what_if.there]).all():
            raise DataError(f'"{quality}" is not known for every row', code="study.incomplete",
                            hint="measure it for all rows first")  # fmt: skip
        if not len(self.scores):
            raise DataError("there are no rows to tune on", code="study.no-rows")
        self.scores = np.where(what_if.there, self.scores, 0.0)
        self.sources, self.codes = list(what_if.table.sources().names), what_if.table.sources().codes
        self.mixed = [f"weight of {name}" for name in self.sources] if mixture else []
        chosen = [pick(what_if.filters, name) for name in names] if names is not None else what_if.filters
        bounded = [c for c in chosen if _bounded(what_if, c)]
        self.sorted = {c.name: _sorted(what_if.values(c)) for c in bounded}
        self.tails = [(c, side) for c in bounded if len(self.sorted[c.name]) for side in _bounded(what_if, c)]
        if not self.tails and not self.mixed:
            raise UsageError("there is no threshold and no mixture to search", code="study.nothing-to-tune",
                             hint="set a bound of some filter")  # fmt: skip

    def start(self) -> dict[str, float]:
        """The recipe as it is, as a point of the search: as near as its range allows."""
        point = dict[str, float](dict.fromkeys(self.mixed, 1.0))
        for criterion, side in self.tails:
            place, ordered = thresholds(criterion.range()), self.sorted[criterion.name]
            bound = place.low if side == "low" else place.high
            assert bound is not None
            below = np.searchsorted(ordered, bound, side="left" if side == "low" else "right") / len(ordered)
            point[f"{criterion.name} {side}"] = min(float(below if side == "low" else 1 - below), _WIDEST)
        return point

    def even(self, share: float) -> dict[str, float]:
        """The same share cut off each tail, and all of each source."""
        return dict.fromkeys(self.mixed, 1.0) | {f"{c.name} {side}": share for c, side in self.tails}

    def run(self, trial: Any) -> float:
        """One trial."""
        point = {f"{c.name} {side}": trial.suggest_float(f"{c.name} {side}", 0.0, _WIDEST) for c, side in self.tails}
        point |= {name: trial.suggest_float(name, 0.0, 1.0) for name in self.mixed}
        ops = self._ops(point)
        weights = {s: point.get(f"weight of {s}", 1.0) for s in self.sources}
        found = self.measure(ops, weights)
        trial.set_user_attr("trial", found.to_json())
        return found.value

    def measure(self, ops: dict[str, RangeFilter], weights: dict[str, float]) -> Trial:
        """The objective at a point."""
        kept = self.what_if.mask(ops)
        many = len(self.sources)
        rows = np.bincount(self.codes[kept], minlength=many)
        score = np.bincount(self.codes[kept], self.scores[kept], minlength=many)
        taken = np.array([weights[name] for name in self.sources])
        held = float(taken @ rows)
        volume, quality = held / len(self.scores), float(taken @ score) / held if held else 0.0
        value = quality + (volume if self.objective == "volume and quality" else 0.0)
        if volume < self.least_volume or not held:
            # Below all points that are allowed, and the lower the further from being so.
            value = volume - self.least_volume + min(float(self.scores.min()), 0.0) - 1.0
        return Trial(value=value, volume=volume, quality=quality)

    def read(self, point: dict[str, float]) -> tuple[dict[str, dict[str, float | int]], dict[str, float]]:
        """Settings by filter and weights by source."""
        settings = dict[str, dict[str, float | int]]()
        for name, op in self._ops(point).items():
            place = thresholds(pick(self.what_if.filters, name).range())
            moved = [place.low_field if side == "low" else place.high_field for c, side in self.tails if c.name == name]
            settings[name] = {field: getattr(op, field) for field in moved if field}
        return settings, {s: point.get(f"weight of {s}", 1.0) for s in self.sources}

    def _ops(self, point: dict[str, float]) -> dict[str, RangeFilter]:
        ops = dict[str, RangeFilter]()
        for criterion, side in self.tails:
            ordered = self.sorted[criterion.name]
            share = point[f"{criterion.name} {side}"]
            at = share if side == "low" else 1 - share
            bound = float(ordered[round(at * (len(ordered) - 1))])
            whole = float(ordered[0]).is_integer() and bool((ordered == np.rint(ordered)).all())
            op = ops.get(criterion.name, criterion.range())
            ops[criterion.name] = with_bounds(
                op, low=bound if side == "low" else None, high=bound if side == "high" else None, whole=whole
            )
        return ops


def _sorted(values: np.ndarray) -> np.ndarray:
    return np.sort(values[np.isfinite(values)])


def _bounded(what_if: WhatIf, criterion: Criterion) -> list[str]:
    op = criterion.op
    if not isinstance(op, RangeFilter) or op.reversed_range or not what_if.table.is_number(criterion.number):
        return []
    values = what_if.values(criterion)
    return bounded_sides(op, values[np.isfinite(values)])


def _front(trials: Sequence[Trial]) -> list[int]:
    best = -np.inf
    front = list[int]()
    for at in sorted(range(len(trials)), key=lambda i: (-trials[i].volume, -trials[i].quality)):
        if trials[at].quality > best:
            best = trials[at].quality
            front.append(at)
    return front[::-1]
