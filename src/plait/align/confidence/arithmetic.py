"""Additions of 1 to 3 digits: a task whose difficulty is known and whose answers are checked by counting."""

from __future__ import annotations

from dataclasses import dataclass

from plait.core.seeds import Seeds


@dataclass(frozen=True)
class Addition:
    """One problem.

    Args:
        question: As it is asked.
        answer: The sum.
        digits: Of both numbers: its difficulty, 1 to 3.
    """

    question: str
    answer: str
    digits: int


def additions(count: int, *, seeds: Seeds, exclude: frozenset[str] = frozenset()) -> list[Addition]:
    """Problems of 1, 2 and 3 digits in turn, drawn at random.

    Args:
        count: How many.
        seeds: Their stream.
        exclude: Questions that must not be among them.

    Example:
        >>> [problem.digits for problem in additions(4, seeds=Seeds(0))]
        [1, 2, 3, 1]
    """
    draw = seeds.child("additions").numpy()
    problems: list[Addition] = []
    while len(problems) < count:
        digits = len(problems) % 3 + 1
        lowest = 0 if digits == 1 else 10 ** (digits - 1)
        first, second = (int(n) for n in draw.integers(lowest, 10**digits, size=2))
        question = f"{first} + {second}"
        if question not in exclude:
            problems.append(Addition(question, str(first + second), digits))
    return problems
