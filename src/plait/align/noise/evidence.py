"""What the pairs say about each other and about themselves, without any model: repeats, contradictions, near copies."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from plait.align.noise.margins import PairTexts

_NEAR = 0.9  # shared share of word pairs from which two texts are near-identical


@dataclass(frozen=True)
class PairEvidence:
    """What is known of one pair without a model.

    Args:
        agreeing: Other pairs of the same prompt and texts with the same label.
        opposing: Those with the opposite label.
        overlap: Shared share of the word pairs of both texts, from 0 to 1.
        length_ratio: Characters of chosen over characters of rejected.
    """

    agreeing: int
    opposing: int
    overlap: float
    length_ratio: float

    @property
    def near_identical(self) -> bool:
        """Whether the two texts say nearly the same: a label of them says little."""
        return self.overlap >= _NEAR

    def words(self) -> list[str]:
        """The evidence in words, strongest first."""
        said: list[str] = []
        if self.opposing:
            said.append(f"contradicted by {self.opposing} and confirmed by {self.agreeing} other labels of this pair")
        if self.near_identical:
            said.append(f"the two texts share {self.overlap:.0%} of their word pairs")
        if self.length_ratio >= 2:
            said.append(f"chosen is {self.length_ratio:.1f} times as long as rejected")
        elif self.length_ratio <= 0.5:
            said.append(f"rejected is {1 / self.length_ratio:.1f} times as long as chosen")
        return said


def collect_evidence(pairs: Sequence[PairTexts]) -> list[PairEvidence]:
    """The evidence of each pair, in order; linear in the number of pairs.

    Example:
        >>> one, other = PairTexts("a", "Hi", "Hello", "Go"), PairTexts("b", "Hi", "Go", "Hello")
        >>> [e.opposing for e in collect_evidence([one, other, one])]
        [1, 2, 1]
    """
    labels: dict[tuple[str, str, str], int] = defaultdict(int)
    for pair in pairs:
        labels[pair.prompt, pair.chosen, pair.rejected] += 1
    return [
        PairEvidence(
            agreeing=labels[pair.prompt, pair.chosen, pair.rejected] - 1,
            opposing=labels.get((pair.prompt, pair.rejected, pair.chosen), 0),
            overlap=_overlap(pair.chosen, pair.rejected),
            length_ratio=(len(pair.chosen) + 1) / (len(pair.rejected) + 1),
        )
        for pair in pairs
    ]


def repeated_labels(evidence: Sequence[PairEvidence]) -> tuple[int, int]:
    """Agreeing and opposing pairs of labels among all repeats, each counted once."""
    agreeing = sum(e.agreeing for e in evidence) // 2
    opposing = sum(e.opposing for e in evidence) // 2
    return agreeing, opposing


def _overlap(first: str, second: str) -> float:
    one, two = _word_pairs(first), _word_pairs(second)
    return len(one & two) / max(1, len(one | two))


def _word_pairs(text: str) -> set[tuple[str, str]]:
    words = ["", *text.lower().split(), ""]
    return set(itertools.pairwise(words))
