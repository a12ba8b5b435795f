"""Noise that hides single rows in a sketch before it is sent.

The presence of one row changes one count of each stat's histogram by one, so noise with the two-sided geometric
distribution of parameter ``exp(-ε/stats)`` on every count, of a histogram whose bins everybody knows beforehand, makes
the sketch ε-differentially private for rows. Nothing else is sent: means are computed from the noisy counts, and
extremes, words and hashes, which no such noise protects, are left out. So are the sources: that there is one with a
name is known only from its rows. The name of the owner is sent.

Source: Dwork et al. 2006, "Calibrating noise to sensitivity"; Ghosh, Roughgarden and Sundararajan 2009 for whole
numbers, which unlike the continuous Laplace distribution leaks nothing through the rounding of floating point.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence

import numpy as np

from plait.data.op import RangeFilter
from plait.data.study.bins import Bins
from plait.data.study.bottom import Bottom
from plait.data.study.criteria import Criterion, takes_whole, thresholds
from plait.data.study.moments import Moments
from plait.data.study.sketch import CorpusSketch, Privacy, Sketch
from plait.errors import UsageError

DOMAIN = (1e-4, 1e7)
"""Where values are told apart, on both sides of zero if ``signed``; what is smaller counts as zero, what is larger as
the largest."""

COARSER = 20
"""Bins put together, so that there are few to add noise to: percentiles are within 2 % then."""


def private(
    corpus: CorpusSketch,
    epsilon: float,
    *,
    signed: bool = False,
    domain: Mapping[str, tuple[float, float]] | None = None,
    generator: np.random.Generator | None = None,
) -> CorpusSketch:
    """The sketch with noise: ε-differentially private for the presence of a row.

    Whoever has several rows is protected that much less. Sending two private sketches of the same rows spends
    the sum of their ε.

    Args:
        corpus: What is to be sent.
        epsilon: Bound on the change of the log-odds of any outcome; about 1 is common.
        signed: Whether values may be below zero (log-probabilities).
        domain: By stat, smallest and largest size of a value; agreed among owners, never taken from the data.
        generator: For tests; seeded by the operating system if not given.

    Raises:
        UsageError: ε is not above zero, or the sketch has noise already.

    Example:
        >>> sketch = Sketch.of({"text_len": np.full(10_000, 120.0)})
        >>> noisy = private(CorpusSketch("clinic", {"": sketch}, ""), 1.0).overall
        >>> abs(noisy.quantiles("text_len", np.array([0.5]))[0] - 120) < 4
        np.True_
    """
    if epsilon <= 0 or not math.isfinite(epsilon):
        raise UsageError(f"an ε of {epsilon:g} is no protection", code="study.bad-epsilon", hint="above 0")
    if corpus.privacy is not None:
        raise UsageError("the sketch has noise already", code="study.noise-twice")
    random = generator or np.random.Generator(np.random.Philox(secrets.randbits(128)))
    # All sources together: their names would tell of rows, and noise on each would add up.
    whole = corpus.overall
    made, blur = _private(whole, epsilon, domain or {}, random, signed=signed)
    mechanism = f"two-sided geometric noise on histograms, ε/{max(len(whole.bins), 1)} per stat"
    return CorpusSketch(corpus.owner, {"": made}, "", Privacy(epsilon, mechanism, blur))


def domains(filters: Sequence[Criterion]) -> dict[str, tuple[float, float]]:
    """Domains that follow from a recipe, so that noise is not spread over values which a stat never has.

    What is called a ratio or a score and is bounded within 0 and 1 is a share; what is bounded by whole numbers is at
    least 1 or counts as 0. Nothing of this is taken from data, and all owners of a recipe get the same.

    Example:
        >>> from plait.data.plan import read_ops
        >>> from plait.data.study.criteria import criteria
        >>> domains(criteria(read_ops([{"alphanumeric_filter": {}}, {"text_length_filter": {}}])))
        {'alnum_ratio': (0.0001, 1.0), 'text_len': (1.0, 10000000.0)}
    """
    found = dict[str, tuple[float, float]]()
    for criterion in filters:
        if not isinstance(op := criterion.op, RangeFilter):
            continue
        place, stat = thresholds(op), criterion.number
        bounds = [bound for bound in (place.low, place.high) if bound is not None]
        if stat.split("@")[0].endswith(("_ratio", "_score")) and all(0 <= bound <= 1 for bound in bounds):
            found[stat] = (DOMAIN[0], 1.0)
        elif takes_whole(op) and all(bound >= 0 for bound in bounds):
            found[stat] = (1.0, DOMAIN[1])
    return found


def _private(
    sketch: Sketch,
    epsilon: float,
    domain: Mapping[str, tuple[float, float]],
    random: np.random.Generator,
    *,
    signed: bool,
) -> tuple[Sketch, float]:
    """The sketch with noise, and by how many rows that moves a rank."""
    share = epsilon / max(len(sketch.bins), 1)
    bins, most = dict[str, Bins](), 0
    for name, exact in sketch.bins.items():
        coarse = exact.coarsened(COARSER)
        keys = _keys(domain.get(name, DOMAIN), coarse.accuracy, signed=signed)
        bins[name], most = _noisy(coarse, share, keys, random), max(most, len(keys))
    # A rank is a sum over the bins below, less its share of the sum of all: at worst half of them count.
    again = math.exp(-share)
    blur = math.sqrt(2 * again * most) / (1 - again) / 2
    # Each stat's noisy total estimates the same number of rows.
    rows = round(float(np.median([b.total for b in bins.values()]))) if bins else 0
    nothing = Bottom.of(np.zeros(0, np.uint64), sketch.documents.size)
    return Sketch(rows, 0, bins, {}, {}, Moments.of((), np.zeros((0, 0))), nothing, nothing), blur


def _keys(domain: tuple[float, float], accuracy: float, *, signed: bool) -> np.ndarray:
    """The bins of a domain, known before any data."""
    low, high = Bins.of(np.array(domain, np.float64), accuracy).keys.tolist()
    above = np.arange(low, high + 1)
    return np.concatenate([-above[::-1] if signed else above[:0], [0], above])


def _noisy(bins: Bins, epsilon: float, keys: np.ndarray, random: np.random.Generator) -> Bins:
    """Noise on every bin of the domain, empty ones too; then counts that no noise made negative."""
    inside = np.clip(bins.keys, keys[0], keys[-1])
    inside[np.abs(inside) < keys[keys > 0][0]] = 0
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, np.searchsorted(keys, inside), bins.counts)
    stop = -math.expm1(-epsilon)
    counts += random.geometric(stop, len(keys)) - random.geometric(stop, len(keys))
    # Setting negative counts to zero would add rows to every empty bin. The nearest rising running total does not.
    total = np.cumsum(counts)
    rising = (np.maximum.accumulate(total) + np.minimum.accumulate(total[::-1])[::-1]) / 2
    smooth = np.diff(np.rint(np.maximum(rising, 0)).astype(np.int64), prepend=0)
    return Bins(bins.accuracy, keys[smooth > 0], smooth[smooth > 0])
