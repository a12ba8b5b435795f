"""Suggest thresholds from what was measured, with the evidence for each.

    by_k_sigma      mean ± k standard deviations, as Data-Juicer's tool does
    by_quantiles    cut the same share off each tail
    by_spread       median ± k robust standard deviations, each side by itself
    by_keep_rate    cut all tails evenly, so that a given share of rows or characters stays
    by_labels       cut where a few rows that somebody called good or bad say so

Every rule says what its thresholds would keep and warns of filters that do nothing or repeat each other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from plait.data.op import Op, RangeFilter
from plait.data.study.criteria import Criterion, Thresholds, bounded_sides, thresholds, with_bounds
from plait.data.study.cuts import Cut, greedy_cuts, threshold_at
from plait.data.study.facts import Fact
from plait.data.study.what_if import Kept, WhatIf
from plait.errors import UsageError, nearest

_NORMAL = 1.4826  # the median absolute deviation of a normal distribution is its standard deviation over this
_REDUNDANT = 0.9
_LEAST_DROPS = 20
_FEWEST = 8  # sources that a warning names


class Change(Fact):
    """A threshold that is suggested."""

    filter: str
    """Name of the filter."""
    stat: str
    """What it measures."""
    field: str
    """Its setting."""
    before: float | None
    """Its value now; ``None`` for no bound."""
    after: float
    """Its suggested value."""
    evidence: str
    """Why."""


class Suggestions(Fact):
    """Thresholds that are suggested together."""

    method: str
    """The rule."""
    changes: list[Change]
    """The thresholds."""
    settings: dict[str, dict[str, float | int]]
    """By filter: the settings to write into the recipe."""
    before: Kept
    """What the recipe keeps now."""
    after: Kept
    """What it would keep."""
    dropped: dict[str, int]
    """By filter, rows it would drop if it were alone."""
    warnings: list[str]
    """What to look at before believing it."""


def by_k_sigma(what_if: WhatIf, k: float = 3.0) -> Suggestions:
    """Mean ± k standard deviations for every bound of every filter.

    Right for values spread as in a normal distribution; ratios and lengths are not, which the warnings then show.

    Args:
        what_if: Stats and filters.
        k: Standard deviations.

    Source: Data-Juicer 1.6.1, ``tools/hpo/execute_hpo_3sigma.py``. It also writes the number into
    ``min_closed_interval`` and ``max_closed_interval``, as their names hold "min" and "max"; that is left out.
    """
    found = dict[str, _Bounds]()
    for criterion in _ranged(what_if):
        values = _known(what_if, criterion)
        if len(values) < 2:
            continue
        mean, std = float(values.mean()), float(values.std(ddof=1))
        why = f"mean {mean:.4g}, standard deviation {std:.4g}"
        found[criterion.name] = _Bounds(mean - k * std, mean + k * std, why)
    return _suggestions(what_if, f"{k:g}-sigma", found)


def by_quantiles(what_if: WhatIf, cut: float = 0.01) -> Suggestions:
    """Cut a share of the rows off each tail that a filter bounds.

    Args:
        what_if: Stats and filters.
        cut: Share of rows, per tail.

    Raises:
        UsageError: The share is not below one half.
    """
    if not 0 <= cut < 0.5:
        raise UsageError(f"a share of {cut:g} per tail leaves nothing", code="study.bad-share")
    found = dict[str, _Bounds]()
    for criterion in _ranged(what_if):
        values, sides = _known(what_if, criterion), _sides(what_if, criterion)
        low, high = (
            (float(np.quantile(values, cut, method="lower")), float(np.quantile(values, 1 - cut, method="higher")))
            if len(values)
            else (None, None)
        )
        found[criterion.name] = _Bounds(
            low if "low" in sides else None, high if "high" in sides else None, f"{100 * cut:g} % of the rows per tail"
        )
    return _suggestions(what_if, f"quantiles {cut:g}", found)


def by_spread(what_if: WhatIf, k: float = 3.0) -> Suggestions:
    """Median ± k robust standard deviations, taken from each side of the median by itself.

    The spread of a side is the median distance of the values there, so outliers do not move it and skewed stats
    get bounds that are as skewed.

    Args:
        what_if: Stats and filters.
        k: Standard deviations.

    Source: Rousseeuw and Croux 1993 for the scale; one per side as in Leys et al. 2013's discussion of skew.
    """
    found = dict[str, _Bounds]()
    for criterion in _ranged(what_if):
        values, sides = _known(what_if, criterion), _sides(what_if, criterion)
        if not len(values):
            continue
        middle = float(np.median(values))
        left = _NORMAL * float(np.median(middle - values[values <= middle]))
        right = _NORMAL * float(np.median(values[values >= middle] - middle))
        why = f"median {middle:.4g}, spread {left:.4g} below and {right:.4g} above"
        found[criterion.name] = _Bounds(
            middle - k * left if "low" in sides else None, middle + k * right if "high" in sides else None, why
        )
    return _suggestions(what_if, f"median ± {k:g} spreads", found)


def by_keep_rate(what_if: WhatIf, keep: float, *, of: Literal["rows", "chars"] = "rows") -> Suggestions:
    """Cut all bounded tails at the same share of rows, so that together they keep as much as asked.

    Each row has a depth: the smallest share of rows that lie at or beyond it in any tail. Keeping the deepest
    rows is the cut, so one sort finds it exactly, however the filters overlap.

    Args:
        what_if: Stats and filters.
        keep: Share to keep, 0 to 1; where rows have equal values, up to that much less is dropped.
        of: What the share is of.

    Raises:
        UsageError: The share is not above 0 and at most 1, or the table does not say how long texts are.
    """
    if not 0 < keep <= 1:
        raise UsageError(f"cannot keep a share of {keep:g}", code="study.bad-share", hint="between 0 and 1")
    table = what_if.table
    weights = np.ones(table.rows) if of == "rows" else table.chars()
    if weights is None:
        raise UsageError("the stats table does not say how long texts are", code="study.no-lengths")
    fixed = what_if.mask({c.name: _unbounded(c.range()) for c in _ranged(what_if)})
    depth = np.where(fixed, 1.0, 0.0)
    tails = dict[tuple[str, str], np.ndarray]()
    for criterion in _ranged(what_if):
        values = what_if.values(criterion)
        ranks = pl.Series(values, nan_to_null=True)
        for side in _sides(what_if, criterion):
            at = ranks.rank("max", descending=side == "high").to_numpy()
            # What has no number lies in no tail; whether it stays is up to the filter.
            tails[criterion.name, side] = np.nan_to_num(at / max(len(values), 1), nan=1.0)
            depth = np.minimum(depth, tails[criterion.name, side])
    cut = _cut_depth(depth, weights, keep)
    found = dict[str, _Bounds]()
    for criterion in _ranged(what_if):
        values, ends = what_if.values(criterion), dict[str, float]()
        for side in _sides(what_if, criterion):
            kept = (tails[criterion.name, side] >= cut) & np.isfinite(values)
            closed = _closed(criterion.range(), side)
            ends[side] = threshold_at(values, kept, low=side == "low", closed=closed)
        found[criterion.name] = _Bounds(
            ends.get("low"), ends.get("high"), f"tails cut below {100 * cut:.3g} % of the rows"
        )
    notes = list[str]()
    most = float(weights[fixed].sum() / max(weights.sum(), 1))
    if most < keep * (1 - 1e-12):
        notes.append(
            f"no thresholds keep more than {100 * most:.1f} % of the {of}: what has no threshold drops the rest"
        )
    return _suggestions(what_if, f"keep {100 * keep:g} % of {of}", found, notes=notes)


def by_labels(what_if: WhatIf, labels: Mapping[str, bool], *, least_gain: int = 2) -> Suggestions:
    """Cut where rows that somebody called good or bad say so.

    What lies beyond a threshold is dropped, so a rule must be monotone. One threshold after the other is
    set, each time the one that puts most labelled rows on their right side, until none helps by `least_gain`.
    All other bounds are taken away.

    Args:
        what_if: Stats and filters.
        labels: By id of the row, whether it is good.
        least_gain: Rows that a threshold must put right; with 1, chance sets thresholds.

    Raises:
        UsageError: There are no good or no bad rows among them, or an id is not in the table.
    """
    positions = _positions(what_if, labels)
    good = np.array(list(labels.values()), np.bool_)
    if good.all() or not good.any():
        raise UsageError("labels of one kind alone set no threshold", code="study.one-label",
                         hint="label some good and some bad rows")  # fmt: skip
    columns = {c.name: what_if.table.numbers(c.number)[positions] for c in _ranged(what_if)}
    sides = [
        (c.name, side)
        for c in _ranged(what_if)
        for side in _settable(thresholds(c.range()))
        if np.isfinite(columns[c.name]).all()
    ]
    cuts = greedy_cuts(columns, sides, good, least_gain=least_gain)
    found = dict[str, _Bounds]()
    for cut in cuts:
        bounds = found.get(cut.name, _Bounds(None, None, ""))
        bounds = bounds.with_side(cut)
        found[cut.name] = bounds
    wrong = int(np.count_nonzero(~good)) - sum(cut.gain for cut in cuts)
    notes = [f"{len(cuts)} thresholds from {len(good)} labels leave {wrong} of them on the wrong side"]
    if len(good) < 20:
        notes.append("fewer than 20 labels: label more rows near the thresholds before trusting them")
    return _suggestions(what_if, f"{len(good)} labels", found, notes=notes, reset=True)


def applied(ops: Sequence[tuple[str, Op]], suggestions: Suggestions) -> list[tuple[str, Op]]:
    """A recipe with suggested settings written into it."""
    changed = list[tuple[str, Op]]()
    seen = set[str]()
    for index, (name, op) in enumerate(ops):
        settings = suggestions.settings.get(f"{name}@{index}" if name in seen else name)
        seen.add(name)
        changed.append(
            (name, type(op).model_validate(op.model_dump(exclude_unset=True) | settings) if settings else op)
        )
    return changed


@dataclass(frozen=True)
class _Bounds:
    """What a rule says of a filter."""

    low: float | None
    high: float | None
    why: str

    def with_side(self, cut: Cut) -> _Bounds:
        why = f"{self.why}; {cut.why}" if self.why else cut.why
        if cut.side == "low":
            return _Bounds(cut.value, self.high, why)
        return _Bounds(self.low, cut.value, why)


def _suggestions(
    what_if: WhatIf,
    method: str,
    found: Mapping[str, _Bounds],
    *,
    notes: Sequence[str] = (),
    reset: bool = False,
) -> Suggestions:
    changes = list[Change]()
    settings = dict[str, dict[str, float | int]]()
    ops = dict[str, RangeFilter]()
    for criterion in _ranged(what_if):
        old, place = criterion.range(), thresholds(criterion.range())
        start = _unbounded(old) if reset else old
        bounds = found.get(criterion.name, _Bounds(None, None, ""))
        values = _known(what_if, criterion)
        op = with_bounds(
            start,
            low=bounds.low if place.low_field else None,
            high=bounds.high if place.high_field else None,
            whole=bool((values == np.rint(values)).all()),
        )
        ops[criterion.name] = op
        new = thresholds(op)
        changed: dict[str, Any] = {
            field: getattr(op, field)
            for field, was, now in ((place.low_field, place.low, new.low), (place.high_field, place.high, new.high))
            if field and was != now
        }
        if changed:
            settings[criterion.name] = changed
        for field, before, value in (
            (place.low_field, place.low, bounds.low), (place.high_field, place.high, bounds.high),
        ):  # fmt: skip
            if field and value is not None:
                changes.append(
                    Change(filter=criterion.name, stat=criterion.number, field=field, before=before,
                           after=getattr(op, field), evidence=bounds.why)
                )  # fmt: skip
    after = what_if.changed(ops)
    overlap = after.overlap()
    kept = after.keep()
    return Suggestions(
        method=method,
        changes=changes,
        settings=settings,
        before=what_if.keep(),
        after=kept,
        dropped=dict(zip(overlap.names, overlap.dropped, strict=True)),
        warnings=[*notes, *_warnings(after, kept)],
    )


def _warnings(after: WhatIf, kept: Kept) -> list[str]:
    """Bounds that drop nothing, filters that repeat others, and too much lost."""
    overlap = after.overlap()
    found = list[str]()
    for name, rows in after.gone.items():
        found.append(
            f"{name} measures nothing: the {int(np.count_nonzero(rows)):,} rows it dropped stay dropped, and rows that "
            "another filter dropped before it are taken to pass it"
        )
    for criterion in _ranged(after):
        values = _known(after, criterion)
        if len(values):
            place = thresholds(criterion.range())
            for field, bound, idle in (
                (place.low_field, place.low, place.low is not None and values.min() >= place.low),
                (place.high_field, place.high, place.high is not None and values.max() <= place.high),
            ):
                if idle and field in criterion.op.model_fields_set:
                    found.append(f"{criterion.name}: {field} = {bound:g} drops nothing")
    for first, drops in zip(overlap.names, overlap.dropped, strict=True):
        for second in overlap.names:
            share = overlap.share(first, second)
            if first != second and drops >= _LEAST_DROPS and share >= _REDUNDANT:
                found.append(f"{second} drops {100 * share:.0f} % of what {first} drops: {first} may be redundant")
    if kept.overall.rows and kept.overall.rate < 0.5:
        found.append(f"keeps only {100 * kept.overall.rate:.1f} % of the rows")
    few = sorted((s.rate, name) for name, s in kept.sources.items() if s.rate < kept.overall.rate / 2)
    if few:
        told = ", ".join(f"{name or 'no source'} ({100 * rate:.1f} %)" for rate, name in few[:_FEWEST])
        more = f" and {len(few) - _FEWEST} more" if len(few) > _FEWEST else ""
        found.append(f"keeps less than half as much as of the whole of {told}{more}")
    return found


def _known(what_if: WhatIf, criterion: Criterion) -> np.ndarray:
    """The numbers of the rows that have one."""
    values = what_if.values(criterion)
    return values[np.isfinite(values)]


def _ranged(what_if: WhatIf) -> list[Criterion]:
    """Filters with thresholds to set.

    A reversed range keeps tails, so no rule here is for it; nor is there one where what is measured is no number.
    """
    return [
        c
        for c in what_if.filters
        if isinstance(c.op, RangeFilter) and not c.op.reversed_range and what_if.table.is_number(c.number)
    ]


def _settable(place: Thresholds) -> list[str]:
    return [side for side, field in (("low", place.low_field), ("high", place.high_field)) if field]


def _sides(what_if: WhatIf, criterion: Criterion) -> list[str]:
    """The tails a filter cuts; all it could cut if it cuts none."""
    return bounded_sides(criterion.range(), _known(what_if, criterion)) or _settable(thresholds(criterion.range()))


def _closed(op: RangeFilter, side: str) -> bool:
    return op.min_closed_interval if side == "low" else op.max_closed_interval


def _unbounded(op: RangeFilter) -> RangeFilter:
    """The filter with bounds that drop nothing."""
    place = thresholds(op)
    changes = {place.low_field: -sys.maxsize, place.high_field: sys.maxsize}
    return type(op).model_validate(op.model_dump(exclude_unset=True) | {f: v for f, v in changes.items() if f})


def _cut_depth(depth: np.ndarray, weights: np.ndarray, keep: float) -> float:
    """The largest depth from which on rows hold at least the share asked; the deepest there is, if none does."""
    order = np.argsort(-depth, kind="stable")
    held = np.cumsum(weights[order])
    at = int(np.searchsorted(held, keep * float(weights.sum()) * (1 - 1e-12)))
    return float(depth[order[min(at, len(order) - 1)]]) if len(order) else 0.0


def _positions(what_if: WhatIf, labels: Mapping[str, bool]) -> np.ndarray:
    if not what_if.table.has("id"):
        ids = {str(at): at for at in range(what_if.table.rows)}
    else:
        column = what_if.table.column("id").cast(pl.String)
        ids = {row_id: at for at, row_id in enumerate(column.to_list()) if row_id in labels}
    unknown = [row_id for row_id in labels if row_id not in ids]
    if unknown:
        hint = nearest(unknown[0], list(ids)) if len(ids) < 10_000 else None
        raise UsageError(f'no row has the id "{unknown[0]}"', code="study.unknown-row", hint=hint)
    return np.array([ids[row_id] for row_id in labels], np.int64)
