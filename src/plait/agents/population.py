"""Who takes part: backgrounds drawn from quotas, with exact proportions and a seed.

    people = Population(
        size=48,
        quotas=(Quota(attributes=("job", "town"), shares=(Share(values=("baker", "Bern"), share=0.25), …)),),
        template="You are a {job} from {town}.",
    )
    people.draw(Seeds(7))[0].text

A quota over several attributes is a joint distribution: its combinations appear exactly as often as it says.
Several quotas are independent of each other: each is dealt out in its own random order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, fsum
from string import Formatter
from typing import Self

from pydantic import Field, model_validator

from plait.core.component import Component
from plait.core.seeds import Seeds


class Share(Component):
    """One combination of values and how much of the population has it."""

    values: tuple[str, ...]
    """One value per attribute of the quota."""
    share: float = Field(gt=0, le=1)
    """Fraction of the population, 0 to 1."""


class Quota(Component):
    """How one attribute, or several jointly, are distributed."""

    attributes: tuple[str, ...] = Field(min_length=1)
    """Names of the attributes, e.g. ``("occupation", "education")``."""
    shares: tuple[Share, ...] = Field(min_length=1)
    """The combinations that occur; fractions add up to 1."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for share in self.shares:
            if len(share.values) != len(self.attributes):
                raise ValueError(f"{share.values} does not give one value for each of {self.attributes}")
        total = fsum(share.share for share in self.shares)
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of {' × '.join(self.attributes)} add up to {total:g}, not 1")
        if len({share.values for share in self.shares}) < len(self.shares):
            raise ValueError(f"a combination of {' × '.join(self.attributes)} is listed twice")
        return self


@dataclass(frozen=True)
class Background:
    """One member of a population.

    Args:
        id: Unique in its population, and sorts in order of drawing.
        attributes: Attribute → value.
        text: The attributes as a sentence for a prompt.
    """

    id: str
    attributes: Mapping[str, str]
    text: str


class Population(Component):
    """Backgrounds by quota.

    Example:
        >>> half = (Share(values=("baker",), share=0.5), Share(values=("judge",), share=0.5))
        >>> people = Population(
        ...     size=4, quotas=(Quota(attributes=("job",), shares=half),), template="You are a {job}."
        ... )
        >>> sorted(person.text for person in people.draw(Seeds(7)))
        ['You are a baker.', 'You are a baker.', 'You are a judge.', 'You are a judge.']
    """

    size: int = Field(ge=1)
    """How many people."""
    quotas: tuple[Quota, ...]
    """What they are like."""
    template: str
    """The background's text, with ``{attribute}`` for each attribute it mentions."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [name for quota in self.quotas for name in quota.attributes]
        if len(set(names)) < len(names):
            raise ValueError(f"an attribute is given by two quotas: {', '.join(names)}")
        for _, field, _, _ in Formatter().parse(self.template):
            if field is not None and field not in names:
                raise ValueError(f'the template mentions "{field}", which no quota gives ({", ".join(names)})')
        return self

    def draw(self, seeds: Seeds) -> list[Background]:
        """The whole population; the same for the same seed.

        Every combination of a quota appears ``share × size`` times, rounded so that the counts add up.
        """
        columns: dict[str, list[str]] = {}
        for quota in self.quotas:
            counts = apportion([share.share for share in quota.shares], self.size)
            dealt = [share.values for share, count in zip(quota.shares, counts, strict=True) for _ in range(count)]
            order = seeds.child("quota", *quota.attributes).numpy().permutation(self.size)
            for position, name in enumerate(quota.attributes):
                columns[name] = [dealt[i][position] for i in order]
        width = len(str(self.size - 1))
        people: list[Background] = []
        for number in range(self.size):
            attributes = {name: column[number] for name, column in columns.items()}
            people.append(Background(f"agent-{number:0{width}d}", attributes, self.template.format_map(attributes)))
        return people


def apportion(shares: Sequence[float], size: int) -> list[int]:
    """Whole numbers in proportion to ``shares``, adding up to ``size``: the method of largest remainders.

    Each is ``share × size`` rounded down or up; equal remainders go to the first listed.

    Example:
        >>> apportion([0.5, 0.3, 0.2], 7)
        [4, 2, 1]
    """
    exact = [share * size for share in shares]
    # A share such as 0.1 × 30 is 3.0000000000000004 or 2.9999999999999996: neither is a remainder.
    counts = [floor(quota + 1e-9) for quota in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (round(counts[i] - exact[i], 9), i))
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return counts


def tally(people: Iterable[Background], *attributes: str) -> Counter[tuple[str, ...]]:
    """How many have each combination of these attributes: the proof of the proportions."""
    return Counter(tuple(person.attributes[name] for name in attributes) for person in people)
