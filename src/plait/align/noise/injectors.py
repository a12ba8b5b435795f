"""Known noise: flip labels, or replace completions, and remember which.

    noisy = LengthBiased(rate=0.2).apply(records, seeds=Seeds(7))
    noisy.records[0]["flipped"], noisy.realised

Every injector decides about a record by its ``id`` and the seed, never by its position: shuffles, subsets and other
methods see the same flips. The records it returns hold two more columns: ``flipped`` (whether the label is now wrong)
and ``noise`` (which injector made it so, or nothing).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from plait.core.component import Component
from plait.core.seeds import Seeds
from plait.errors import DataError

Record = Mapping[str, Any]

_BISECTIONS = 60  # halvings of a range of about 100: far below the digits of a double


@dataclass(frozen=True)
class Noisy:
    """Records with known noise.

    Args:
        records: All records in the order given, each with ``flipped`` and ``noise``.
        asked: The share that was to be changed.
        realised: The share that was changed.
    """

    records: list[dict[str, Any]]
    asked: float
    realised: float

    @property
    def mask(self) -> list[bool]:
        """Which labels are wrong, ``[records]``."""
        return [record["flipped"] for record in self.records]


class Injector(Component):
    """Noise of one kind at one rate."""

    rate: float = Field(default=0.2, ge=0, le=1)
    """The expected share of records that are changed."""

    def apply(self, records: Sequence[Record], *, seeds: Seeds) -> Noisy:
        """Inject the noise.

        Args:
            records: With ``id``, and ``prompt``, ``chosen`` and ``rejected`` where they are pairs.
            seeds: Decides together with each id.

        Raises:
            DataError: A record has no ``id`` or two have the same, a needed column is missing, or the records cannot
                carry so much noise of this kind.
        """
        ids = _ids(records)
        if any(record.get("flipped") for record in records):
            raise DataError(
                "some records are already flipped",
                code="align.noise-twice",
                hint="inject into the clean records: a second flip would undo the first, and its mask with it",
            )
        chances = self.chances(records, ids, seeds)
        # By id, not by place: what a record gets from another is the same in every order of the same records.
        donors = [record for _, record in sorted(zip(ids, records, strict=True), key=lambda named: named[0])]
        made: list[dict[str, Any]] = []
        for record, name, chance in zip(records, ids, chances, strict=True):
            hit = _uniform(seeds, "flip", name) < chance
            changed = self.change(record, donors, seeds.child("change", name)) if hit else dict(record)
            hit = hit and changed != dict(record)
            made.append({**changed, "flipped": hit, "noise": self.kind if hit else None})
        return Noisy(made, self.rate, sum(record["flipped"] for record in made) / max(1, len(made)))

    @property
    def kind(self) -> str:
        """The injector's name."""
        return str(getattr(self, "name", type(self).__name__))

    @abstractmethod
    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:
        """The probability of each record to be changed, with mean `rate` over those given."""

    def change(self, record: Record, donors: Sequence[Record], seeds: Seeds) -> dict[str, Any]:  # noqa: ARG002
        """What becomes of a record that is hit: chosen and rejected change places."""
        return {**record, "chosen": record["rejected"], "rejected": record["chosen"]}


class Symmetric(Injector):
    """Every label is wrong with the same probability.

    Source: Wu et al. 2024, Dr. DPO (arXiv 2407.07880), pairwise noise; here by id instead of by position, so that a
    subset has the same flips.

    Example:
        >>> pairs = [{"id": str(n), "prompt": "", "chosen": "good", "rejected": "bad"} for n in range(1000)]
        >>> noisy = Symmetric(rate=0.2).apply(pairs, seeds=Seeds(0))
        >>> 0.15 < noisy.realised < 0.25, noisy.records[noisy.mask.index(True)]["chosen"]
        (True, 'bad')
    """

    name: Literal["symmetric"] = "symmetric"

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: ARG002, D102
        return [self.rate] * len(records)


class InstanceDependent(Injector):
    """Hard pairs are confused more often: the probability falls with the true margin, ``σ(b - slope · margin)``.

    b is chosen so that the mean over the records given is `rate`; a subset has the same flips only if b is given as
    ``offset``.
    """

    name: Literal["instance"] = "instance"
    column: str = "margin"
    """Column with how clearly chosen is better; its spread over the records is the unit."""
    slope: float = Field(default=2.0, gt=0)
    """How much the log-odds of a flip fall per spread of the margin."""
    offset: float | None = None
    """b itself; found from ``rate`` if left out."""

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: ARG002, D102
        margins = [float(value) for value in _column(records, self.column)]
        mean = sum(margins) / len(margins)
        spread = math.sqrt(sum((m - mean) ** 2 for m in margins) / len(margins)) or 1.0
        odds = [-self.slope * (m - mean) / spread for m in margins]
        return _logistic(odds, self.rate, self.offset)


class Annotator(Injector):
    """Each annotator errs at a rate of their own, the same for all their records.

    Rates follow a Beta distribution with mean `rate`; an annotator's rate comes from their id and the seed.
    """

    name: Literal["annotator"] = "annotator"
    column: str = "annotator"
    """Column with who labelled the record; without it records are dealt to ``annotators`` by id."""
    annotators: int = Field(default=10, ge=1)
    """How many there are where the records do not say."""
    spread: float = Field(default=0.5, gt=0, lt=1)
    """From 0 (all alike) to 1 (some always wrong, others never)."""

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: D102
        return [self.rate_of(who, seeds) for who in self.who(records, ids, seeds)]

    def who(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[str]:
        """The annotator of each record."""
        return [
            str(record[self.column])
            if record.get(self.column) is not None
            else f"annotator-{int(_uniform(seeds, 'who', name) * self.annotators)}"
            for record, name in zip(records, ids, strict=True)
        ]

    def rate_of(self, annotator: str, seeds: Seeds) -> float:
        """How often an annotator errs."""
        if self.rate in (0.0, 1.0):
            return self.rate
        strength = 1 / self.spread - 1
        return float(seeds.child("annotator", annotator).numpy().beta(self.rate * strength, (1 - self.rate) * strength))


class LengthBiased(Injector):
    """Labellers who like long answers: a pair is flipped only where its rejected text is the longer one.

    The probability rises with the log of the length ratio, and is 0 where chosen is at least as long.
    """

    name: Literal["length"] = "length"
    slope: float = Field(default=2.0, gt=0)
    """How much the log-odds of a flip rise when rejected is e times longer still."""
    offset: float | None = None
    """The log-odds at equal length; found from ``rate`` if left out."""

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: ARG002, D102
        chosen, rejected = ([len(str(text)) for text in _column(records, side)] for side in ("chosen", "rejected"))
        ratios = [math.log((bad + 1) / (good + 1)) for good, bad in zip(chosen, rejected, strict=True)]
        able = sum(ratio > 0 for ratio in ratios)
        if self.offset is None and able < self.rate * len(ratios):
            raise DataError(
                f"{self.rate:.0%} of the pairs should be flipped towards the longer text, but only in "
                f"{able / len(ratios):.0%} of them rejected is longer",
                code="align.noise-rate",
                hint=f"ask for a rate of at most {able / len(ratios):.2f}",
            )
        odds = [self.slope * ratio if ratio > 0 else -math.inf for ratio in ratios]
        return _logistic(odds, self.rate, self.offset)


class Ties(Injector):
    """Pairs too close to call get a coin's label: ``rate`` is the share of coins, and half of them land wrong.

    The closest pairs by ``column`` are the ties, so that half of ``rate`` of all labels are wrong.
    """

    name: Literal["ties"] = "ties"
    column: str = "margin"
    """Column with how clearly chosen is better."""

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: ARG002, D102
        margins = [abs(float(value)) for value in _column(records, self.column)]
        order = sorted(range(len(margins)), key=lambda row: (margins[row], ids[row]))
        ties = set(order[: round(self.rate * len(order))])
        return [0.5 if row in ties else 0.0 for row in range(len(margins))]


class Pointwise(Injector):
    """Low-quality text where a good one should be: a chosen completion (or an SFT record's) is damaged.

    The paper mixes low-quality responses into the reference model's data and publishes no code for it; ``swap`` puts
    another record's completion in its place (fluent, but of another prompt), ``repeat`` says its first words again
    and again, ``cut`` keeps the first third, ``shuffle`` mixes up its words.

    Source: Wu et al. 2024, Dr. DPO (arXiv 2407.07880), pointwise noise; recipes ours.
    """

    name: Literal["pointwise"] = "pointwise"
    damage: Literal["swap", "repeat", "cut", "shuffle"] = "swap"
    """What low quality means."""
    column: str = "chosen"
    """The text that suffers: ``chosen`` of pairs, ``completion`` or ``text`` of SFT records."""

    def chances(self, records: Sequence[Record], ids: Sequence[str], seeds: Seeds) -> list[float]:  # noqa: ARG002, D102
        _column(records, self.column)
        return [self.rate] * len(records)

    def change(self, record: Record, donors: Sequence[Record], seeds: Seeds) -> dict[str, Any]:  # noqa: D102
        words = str(record[self.column]).split()
        match self.damage:
            case "swap":
                drawn = int(seeds.numpy().integers(max(1, len(donors) - 1)))
                donor = donors[drawn] if donors[drawn]["id"] != record["id"] else donors[-1]
                text = str(donor[self.column])
            case "repeat":
                text = " ".join([*words[:3]] * max(2, len(words) // 3))
            case "cut":
                text = " ".join(words[: max(1, len(words) // 3)])
            case "shuffle":
                text = " ".join(words[n] for n in seeds.numpy().permutation(len(words)))
        return {**record, self.column: text}


AnyInjector = Annotated[
    Symmetric | InstanceDependent | Annotator | LengthBiased | Ties | Pointwise, Field(discriminator="name")
]
"""Any injector, chosen in a recipe by ``name``."""

INJECTORS: Mapping[str, Callable[..., Injector]] = {
    "symmetric": Symmetric,
    "instance": InstanceDependent,
    "annotator": Annotator,
    "length": LengthBiased,
    "ties": Ties,
    "pointwise": Pointwise,
}
"""The injectors by name."""


def _uniform(seeds: Seeds, *names: str) -> float:
    """A number in [0, 1) that depends on the names alone."""
    return seeds.child(*names).integer(53) / 2**53


def _ids(records: Sequence[Record]) -> list[str]:
    ids = [str(record.get("id", "")) for record in records]
    if not all(ids) or len(set(ids)) != len(ids):
        twice = next((name for name, count in Counter(ids).items() if name and count > 1), "")
        raise DataError(
            f'the id "{twice}" stands twice' if twice else "a record has no id",
            code="align.noise-id",
            hint="flips follow ids: give every record one of its own",
        )
    return ids


def _column(records: Sequence[Record], name: str) -> list[Any]:
    missing = sum(record.get(name) is None for record in records)
    if missing or not records:
        raise DataError(
            f'{missing} of {len(records)} records have no "{name}"', code="align.missing-columns", hint="add the column"
        )
    return [record[name] for record in records]


def _logistic(odds: Sequence[float], rate: float, offset: float | None) -> list[float]:
    """``σ(odds + b)`` with b given, or such that the mean is ``rate``."""
    if offset is not None:
        return [_sigmoid(value + offset) for value in odds]
    if rate in (0.0, 1.0):
        return [rate] * len(odds)
    finite = [abs(value) for value in odds if math.isfinite(value)]
    high = 40 + max(finite, default=0.0)
    low = -high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mean = sum(_sigmoid(value + middle) for value in odds) / len(odds)
        low, high = (middle, high) if mean < rate else (low, middle)
    return [_sigmoid(value + low) for value in odds]


def _sigmoid(x: float) -> float:
    if x < 0:
        grown = math.exp(x)
        return grown / (1 + grown)
    return 1 / (1 + math.exp(-x))
