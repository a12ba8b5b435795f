"""How many labels are wrong? Two estimates that fail differently, a bound, and how far to believe them.

All read *held-out* margins: how strongly a scorer that never saw a pair prefers its chosen text, in log-odds. A
scorer's own mistakes look like flips. What tells them apart is an assumption, and each estimate makes another one:
the mixture that clean margins are normal, confident learning that the scorer's mean confidence is honest. Neither
can know whether annotators agree on what is good: labels that are all wrong the same way look clean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.align.evaluate import Interval
from plait.core.seeds import Seeds
from plait.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]

_FEWEST = 20  # pairs; below it no estimate says anything
_RESAMPLES = 200
_AGREE = 0.1  # estimates closer than this tell the same story
_ANCHORS = 0.1  # share of the pairs with the largest margins that the bound looks at
_SEPARABLE = 1.0  # spreads between the two components; below it their share is a guess


@dataclass(frozen=True)
class Mixture:
    """Two mirrored normal distributions: right labels around ``mean``, wrong ones around ``-mean``.

    Args:
        flip_rate: ε: the share of the wrong ones.
        mean: Of the margins of right labels, at least 0.
        spread: Standard deviation of either component.
    """

    flip_rate: float
    mean: float
    spread: float

    @property
    def separation(self) -> float:
        """Distance of the two means in spreads; below 1 the components are one hump."""
        return 2 * self.mean / self.spread if self.spread > 0 else 0.0

    def posterior(self, margins: Numbers) -> Numbers:
        """The probability that each label is wrong, ``[pairs]``: ``σ(logit ε - 2 μ m / σ²)``."""
        import numpy as np

        rate = min(max(self.flip_rate, 1e-6), 1 - 1e-6)
        odds = np.log(rate / (1 - rate)) - 2 * self.mean * margins / max(self.spread, 1e-9) ** 2
        return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))


@dataclass(frozen=True)
class FlipRate:
    """What held-out margins say about the share of wrong labels.

    Args:
        mixture: By the two-component mixture, with a 95 % bootstrap interval over pairs.
        confident: By confident learning, with the same.
        bound: Share of wrong-looking labels among the largest margins: an upper bound if wrong labels are spread
            evenly, since the scorer's own mistakes are in it too.
        components: The fitted mixture.
    """

    mixture: Interval
    confident: Interval
    bound: float
    components: Mixture

    @property
    def value(self) -> float:
        """The estimate to act on: the mean of the two, below one half and never above the bound."""
        return min(0.49, self.bound, (self.mixture.value + self.confident.value) / 2)

    @property
    def agree(self) -> bool:
        """Whether the estimates tell the same story and the scorer tells labels apart at all."""
        return abs(self.mixture.value - self.confident.value) <= _AGREE and self.components.separation >= _SEPARABLE

    def remarks(self) -> list[str]:
        """What the numbers do not say, in words."""
        said = [
            "labels that are all wrong in the same way (a shared bias) cannot be seen from margins: "
            "check some pairs by hand before trusting any estimate",
            "a scorer fitted to these labels learns whatever their errors have in common: if labellers preferred long "
            "texts, it will too, and will suspect the honest labels instead; margins of a model that never saw these "
            "labels do not have this fault",
        ]
        if self.components.separation < _SEPARABLE:
            said.append(
                f"the scorer hardly tells right from wrong labels (its two humps are {self.components.separation:.2f} "
                "spreads apart): the flip rate is a guess; try a stronger scorer"
            )
        elif not self.agree:
            said.append(
                f"the two estimates differ ({self.mixture.value:.2f} and {self.confident.value:.2f}): take the rate as "
                "a range, and methods that need its exact value (rdpo) with care"
            )
        return said


def estimate_flip_rate(margins: Numbers, *, seeds: Seeds, resamples: int = _RESAMPLES) -> FlipRate:
    """Estimate the share of wrong labels from held-out margins.

    Args:
        margins: Log-odds by a scorer that never saw the pair, positive where it agrees with the label, ``[pairs]``.
        seeds: Stream of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        DataError: There are fewer than 20 pairs, or a margin is not finite.

    Example:
        >>> import numpy as np
        >>> draw = np.random.default_rng(0)
        >>> clean = draw.normal(3.0, 1.5, size=4000)
        >>> found = estimate_flip_rate(np.where(draw.random(4000) < 0.2, -clean, clean), seeds=Seeds(0))
        >>> found.mixture.low < 0.2 < found.mixture.high, found.agree
        (True, True)
    """
    import numpy as np

    if len(margins) < _FEWEST or not bool(np.isfinite(margins).all()):
        raise DataError(
            f"{len(margins)} margins, {int((~np.isfinite(margins)).sum())} of them not finite, give no flip rate",
            code="align.noise-margins",
            hint=f"give at least {_FEWEST} finite margins",
        )
    rows = seeds.child("flip-rate").numpy().integers(len(margins), size=(resamples, len(margins)))
    fitted = fit_mixture(margins)
    largest = margins[np.argsort(-np.abs(margins))[: max(10, round(_ANCHORS * len(margins)))]]
    return FlipRate(
        mixture=_interval(lambda m: fit_mixture(m).flip_rate, margins, rows),
        confident=_interval(confident_flip_rate, margins, rows),
        bound=float((largest < 0).mean()),
        components=fitted,
    )


def fit_mixture(margins: Numbers, *, steps: int = 500) -> Mixture:
    """Maximum likelihood of two mirrored normals by expectation-maximisation, ``[pairs]``.

    With mean 0 the share would be arbitrary; there it is the share of negative margins.

    Source: Dempster et al. 1977; the mirrored form is the one that flipped labels imply.
    """
    import numpy as np

    below = float((margins < 0).mean())
    mean, rate = float(np.abs(margins).mean()), min(max(below, 0.01), 0.99)
    square = float((margins**2).mean())
    spread = max(np.sqrt(max(square - mean**2, 0.0)), 1e-6 * np.sqrt(square) + 1e-12)
    for _ in range(steps):
        wrong = Mixture(rate, mean, float(spread)).posterior(margins)
        now_rate = float(wrong.mean())
        now_mean = float(((1 - 2 * wrong) * margins).mean())
        spread = max(np.sqrt(max(square - now_mean**2, 0.0)), 1e-6 * np.sqrt(square) + 1e-12)
        settled = abs(now_rate - rate) < 1e-6 and abs(now_mean - mean) < 1e-6 * np.sqrt(square)
        rate, mean = now_rate, now_mean
        if settled:
            break
    if mean < 0:
        rate, mean = 1 - rate, -mean
    if 2 * mean < 1e-3 * spread:
        return Mixture(below, 0.0, float(spread))
    return Mixture(rate, mean, float(spread))


def confident_flip_rate(margins: Numbers) -> float:
    """Share of pairs confidently of the other label, of all confidently of either, ``[pairs]``.

    Both orders of a pair are one class each; by symmetry their thresholds are equal: the mean probability given to
    the label.

    Source: Northcutt et al. 2021, confident learning (arXiv 1911.00068), equation 1.

    Example:
        >>> import numpy as np
        >>> confident_flip_rate(np.array([2.0, 2.0, 2.0, -2.0]))
        0.25
    """
    import numpy as np

    right = 1 / (1 + np.exp(-np.clip(margins, -500, 500)))
    threshold = float(right.mean())
    kept, flipped = int((right >= threshold).sum()), int((1 - right >= threshold).sum())
    if threshold < 0.5:  # a pair can be above it for both labels; the likelier one counts
        kept, flipped = int((right >= 0.5).sum()), int((right < 0.5).sum())
    return flipped / max(1, kept + flipped)


def rate_from_contradictions(agreeing: int, opposing: int) -> float | None:
    """ε from repeated pairs: two independent labels of one pair differ with probability ``2 ε (1-ε)``.

    Args:
        agreeing: Pairs of labels of the same pair that agree.
        opposing: Those that contradict each other.

    Returns:
        ε, at most one half; nothing without repeated pairs.

    Example:
        >>> round(rate_from_contradictions(82, 18), 3), rate_from_contradictions(0, 0)
        (0.1, None)
    """
    if agreeing + opposing == 0:
        return None
    differ = min(0.5, opposing / (agreeing + opposing))
    return (1 - (1 - 2 * differ) ** 0.5) / 2


def _interval(measure: Callable[[Numbers], float], margins: Numbers, rows: np.ndarray) -> Interval:
    import numpy as np

    low, high = np.quantile([measure(margins[row]) for row in rows], [0.025, 0.975])
    return Interval(measure(margins), float(low), float(high))
