"""Owners agree on thresholds from sketches alone, and learn how much of their texts is the same.

    mine = sketch(batches, ops, owner="clinic", secret=shared)      # at each owner's
    agreement = agree([mine, *theirs], ops, rule="quantiles")       # anywhere

No text moves. A sketch holds counts, means and keyed hashes; see `plait.data.study.keyed` for what these hide and from
whom, and `plait.data.study.privacy` for sketches with noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import Literal

import numpy as np

from plait.data.op import Op, RangeFilter
from plait.data.study.criteria import Thresholds, bounded_sides, criteria, thresholds, with_bounds
from plait.data.study.facts import Fact
from plait.data.study.sketch import CorpusSketch, Sketch
from plait.errors import StrandError, UsageError

Rule = Literal["quantiles", "k-sigma", "spread"]
"""How thresholds follow from distributions, as in `plait.data.study.suggest`."""

Voice = Literal["rows", "owners"]
"""Whether each row counts alike, or each owner."""

_NORMAL = 1.4826
_BLURRED = 0.02  # share of the rows that thresholds not set by a share may be off
_NEAR = 1e-9  # numbers that differ by less than this, relative to them, are one number


class AgreedFilter(Fact):
    """Thresholds that all owners use."""

    filter: str
    """Name of the filter."""
    stat: str
    """What it measures."""
    settings: dict[str, float | int]
    """What to write into the recipe."""
    drops: dict[str, float]
    """By owner, the estimated share of rows that this filter alone drops."""


class Shared(Fact):
    """How much of two owners' texts is the same."""

    first: str
    """An owner."""
    second: str
    """Another."""
    texts: float
    """Estimated number of different texts that both have."""
    texts_jaccard: float
    """Estimated share of the union of their texts that both have."""
    runs_jaccard: float
    """The same for runs of five words: what they share in parts."""
    error: float
    """One standard deviation of the estimated shares, at most."""


class Agreement(Fact):
    """What owners agree on."""

    owners: dict[str, int]
    """Rows by owner."""
    rule: str
    """How thresholds were set."""
    filters: list[AgreedFilter]
    """The thresholds."""
    shared: list[Shared]
    """Pairs of owners; empty if their sketches have no hashes."""
    epsilon: dict[str, float | None]
    """By owner, the privacy spent on its sketch; ``None`` without noise."""
    warnings: list[str]
    """What to look at."""


def agree(
    sketches: Sequence[CorpusSketch],
    ops: Sequence[tuple[str, Op]],
    *,
    rule: Rule = "quantiles",
    cut: float = 0.01,
    k: float = 3.0,
    voice: Voice = "rows",
) -> Agreement:
    """Thresholds for all owners, from their sketches.

    The order of the sketches does not matter.

    Args:
        sketches: One per owner, made with the same recipe and secret.
        ops: The recipe.
        rule: How thresholds follow from the distribution of all owners' values.
        cut: For ``quantiles``: share of the rows cut off each tail.
        k: For ``k-sigma`` and ``spread``: standard deviations.
        voice: Whether a large owner weighs more.

    Raises:
        UsageError: Fewer than two sketches, or two of one owner.
        StrandError: They were made with other recipes or secrets.
    """
    ordered = sorted(sketches, key=lambda s: s.owner)
    _check(ordered)
    wholes = {s.owner: s.overall for s in ordered}
    filters = list[AgreedFilter]()
    for criterion in criteria(ops):
        op, stat = criterion.op, criterion.number
        if not isinstance(op, RangeFilter) or op.reversed_range:
            continue
        _check_stat(wholes, stat)
        low, high = _bounds(list(wholes.values()), stat, rule, cut, k, voice)
        place = thresholds(op)
        values = np.concatenate([whole.bins[stat].values() for whole in wholes.values()])
        set_low, set_high = _sides(op, place, rule, values)
        changed = with_bounds(op, low=low if set_low else None, high=high if set_high else None, whole=False)
        new = thresholds(changed)
        settings = {
            f: getattr(changed, f) for f, used in ((new.low_field, set_low), (new.high_field, set_high)) if f and used
        }
        filters.append(
            AgreedFilter(
                filter=criterion.name,
                stat=stat,
                settings=settings,
                drops={owner: _dropped(whole, stat, new) for owner, whole in wholes.items()},
            )
        )
    shared = [_shared(a, b, wholes[a], wholes[b]) for a, b in combinations(wholes, 2) if _hashed(wholes[a], wholes[b])]
    return Agreement(
        owners={owner: whole.rows for owner, whole in wholes.items()},
        rule={"quantiles": f"{100 * cut:g} % of the {voice} per tail"}.get(rule, f"{rule}, k = {k:g}"),
        filters=filters,
        shared=shared,
        epsilon={s.owner: s.privacy.epsilon if s.privacy else None for s in ordered},
        warnings=[*_noise(ordered, cut if rule == "quantiles" else _BLURRED), *_warnings(filters, shared)],
    )


def merge_sketches(sketches: Sequence[CorpusSketch], owner: str) -> CorpusSketch:
    """The sketch of several owners' rows together, each owner a source."""
    ordered = sorted(sketches, key=lambda s: s.owner)
    _check(ordered)
    noises = [s.privacy for s in ordered if s.privacy is not None]
    # A row is with one owner, so it is protected as that owner's sketch protects it: at worst by the largest ε.
    worst = max(noises, key=lambda noise: noise.epsilon, default=None)
    privacy = worst and replace(worst, blur=math.hypot(*(noise.blur for noise in noises)))
    return CorpusSketch(owner, {s.owner: s.overall for s in ordered}, ordered[0].key_check, privacy)


def _check(ordered: Sequence[CorpusSketch]) -> None:
    names = [s.owner for s in ordered]
    if len(names) < 2:
        raise UsageError("an agreement needs two owners", code="study.one-owner")
    if len(set(names)) < len(names):
        raise UsageError(f"two sketches are of one owner: {', '.join(names)}", code="study.one-owner")
    if len({(s.key_check, s.privacy is None) for s in ordered}) > 1:
        raise StrandError(
            "the sketches were made with different secrets, or some of them with noise",
            code="study.unlike-sketches",
            hint="give all owners the same secret and the same ε or none",
        )


def _check_stat(wholes: dict[str, Sketch], stat: str) -> None:
    without = [owner for owner, whole in wholes.items() if stat not in whole.bins]
    if without:
        raise StrandError(
            f'the sketch of {", ".join(without)} has no "{stat}"',
            code="study.unlike-sketches",
            hint="make all sketches with the same filters",
        )


def _bounds(wholes: Sequence[Sketch], stat: str, rule: Rule, cut: float, k: float, voice: Voice) -> tuple[float, float]:
    """Low and high by the rule, over all owners."""
    values = np.concatenate([w.bins[stat].values() for w in wholes])
    weights = np.concatenate(
        [w.bins[stat].counts / (max(w.bins[stat].total, 1) if voice == "owners" else 1) for w in wholes]
    )
    if not len(values):
        raise StrandError(f'no owner has a value of "{stat}"', code="study.no-values")
    if rule == "quantiles":
        # Which values a bin holds is not known, so its ends are the thresholds: many rows may have one value, such
        # as a share of 1, and a threshold in the middle of its bin would drop them all.
        starts, ends = (np.concatenate(side) for side in zip(*(w.bins[stat].ends() for w in wholes), strict=True))
        low, high = starts[_at(values, weights, cut)], ends[_at(values, weights, 1 - cut)]
        if all(stat in w.whole for w in wholes):
            return math.floor(low * (1 + _NEAR)) + (low > 0), math.floor(high * (1 + _NEAR))
        return _outwards(low, up=False), _outwards(high, up=True)
    if rule == "spread":
        middle = _quantile(values, weights, 0.5)
        below, above = values <= middle, values >= middle
        left = _NORMAL * _quantile(middle - values[below], weights[below], 0.5)
        right = _NORMAL * _quantile(values[above] - middle, weights[above], 0.5)
        return middle - k * left, middle + k * right
    mean, std = _mean_std(wholes, stat, values, weights, voice)
    return mean - k * std, mean + k * std


def _mean_std(
    wholes: Sequence[Sketch], stat: str, values: np.ndarray, weights: np.ndarray, voice: Voice
) -> tuple[float, float]:
    """From the exact moments where there are some and rows count alike, otherwise from the bins."""
    if voice == "rows" and all(stat in w.moments.names for w in wholes):
        moments = reduce(Sketch.merge, wholes).moments
        at = moments.names.index(stat)
        return float(moments.mean()[at]), float(np.nan_to_num(moments.std()[at]))
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    return float(values[_at(values, weights, share)])


def _at(values: np.ndarray, weights: np.ndarray, share: float) -> int:
    """Place of the value at a share of the weights."""
    order = np.argsort(values, kind="stable")
    held = np.cumsum(weights[order])
    at = np.searchsorted(held, share * held[-1] * (1 - 1e-12))
    return int(order[min(int(at), len(order) - 1)])


def _outwards(value: float, *, up: bool) -> float:
    """A number of six digits on one side of a value, or the value if it has no more.

    Example:
        >>> _outwards(0.12345678, up=True), _outwards(0.12345678, up=False), _outwards(1 + 1e-13, up=True)
        (0.123457, 0.123456, 1.0)
    """
    short = float(f"{value:.6g}")
    if math.isclose(short, value, rel_tol=_NEAR) or (short > value) == up:
        return short
    step = 10.0 ** (math.floor(math.log10(abs(short))) - 5)
    return float(f"{short + (step if up else -step):.6g}")


def _sides(op: RangeFilter, place: Thresholds, rule: Rule, values: np.ndarray) -> tuple[bool, bool]:
    """Which thresholds to set: those that cut a tail, or all there are; all for k-sigma, as published."""
    cut = bounded_sides(op, values)
    free = rule == "k-sigma" or not cut
    return (
        place.low_field is not None and (free or "low" in cut),
        place.high_field is not None and (free or "high" in cut),
    )


def _dropped(whole: Sketch, stat: str, place: Thresholds) -> float:
    bins = whole.bins[stat]
    if not bins.total:
        return 0.0
    low, high = bins.ends()
    outside = np.zeros(len(low), np.bool_)
    # A bin that a threshold falls into counts as inside: the threshold may be any of its values.
    if place.low is not None:
        outside |= high < place.low - _NEAR * abs(place.low)
    if place.high is not None:
        # A bin begins above its first end, so one that begins at the threshold lies outside; that of zero is zero.
        outside |= np.where(high == 0, low > place.high, low >= place.high - _NEAR * abs(place.high))
    return float(bins.counts[outside].sum() / bins.total)


def _hashed(first: Sketch, second: Sketch) -> bool:
    return len(first.documents.hashes) > 0 and len(second.documents.hashes) > 0


def _shared(first: str, second: str, a: Sketch, b: Sketch) -> Shared:
    size = min(len(a.documents.merge(b.documents).hashes), len(a.shingles.merge(b.shingles).hashes)) or 1
    return Shared(
        first=first,
        second=second,
        texts=a.documents.shared(b.documents),
        texts_jaccard=a.documents.jaccard(b.documents),
        runs_jaccard=a.shingles.jaccard(b.shingles),
        error=0.5 / size**0.5,
    )


def _noise(ordered: Sequence[CorpusSketch], resolved: float) -> list[str]:
    """Whether noise hides what thresholds are to be set by."""
    blur = math.hypot(*(s.privacy.blur for s in ordered if s.privacy is not None))
    rows = max(sum(s.overall.rows for s in ordered), 1)
    if blur <= resolved * rows / 2:
        return []
    return [
        f"the noise moves ranks by about {blur:,.0f} of {rows:,} rows ({100 * blur / rows:.1f} %): thresholds are no "
        "more certain than that; more rows, fewer filters or a larger ε help"
    ]


def _warnings(filters: Sequence[AgreedFilter], shared: Sequence[Shared]) -> list[str]:
    found = list[str]()
    for agreed in filters:
        for owner, share in agreed.drops.items():
            if share > 0.25:
                found.append(f"{agreed.filter} would drop {100 * share:.0f} % of {owner}'s rows")
        if not any(agreed.drops.values()):
            found.append(f"{agreed.filter} would drop nothing")
    for pair in shared:
        if pair.texts >= 1:
            count = f"{pair.texts:,.0f}"
            found.append(
                f"{pair.first} and {pair.second} share about {count} texts: `plait data joint` plans who keeps each"
            )
    return found
