"""The format in which a confidence is stated, and the prompts that ask for it.

### Question: 12 + 30 = ?
### Answer: 42
### Confidence: 0.9
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

INSTRUCTION = "Answer the question, and say how sure you are that the answer is right, from 0.0 to 1.0."
EXAMPLES: tuple[tuple[str, str, float], ...] = (
    ("What is the capital of France?", "Paris", 1.0),
    ("How many people lived in Ur in 2000 BC?", "65,000", 0.3),
)
"""One certain and one uncertain answer, as in the published prompt."""
GRID: tuple[float, ...] = tuple(index / 10 for index in range(11))
"""The confidences a model is taught to state."""


def ask(question: str, *, style: Literal["bare", "examples", "chain", "top2"] = "bare") -> str:
    r"""The prompt that an answer follows.

    Args:
        question: What is asked.
        style: ``bare`` for a model that has learnt the format; ``examples`` with the instruction and worked examples;
            ``chain`` asks for an explanation first; ``top2`` for two answers, each with its confidence.

    Example:
        >>> ask("2 + 2 = ?")
        '### Question: 2 + 2 = ?\n### Answer:'

    Source: CONQORD (arXiv 2404.17287), prompts; Tian et al. 2023 for top-k.
    """
    question = f"### Question: {question}\n"
    if style == "bare":
        return question + "### Answer:"
    if style == "chain":
        return f"{INSTRUCTION} Explain first.\n\n{question}### Explanation:"
    if style == "top2":
        return f"{INSTRUCTION} Give your two best answers, each with its confidence.\n\n{question}### Answer 1:"
    shown = "".join(f"### Question: {q}\n### Answer:{state(a, c)}\n\n" for q, a, c in EXAMPLES)
    return f"{INSTRUCTION}\n\n{shown}{question}### Answer:"


def answered(answer: str) -> str:
    """An answer up to where its confidence follows."""
    return f" {answer.strip()}\n### Confidence:"


def state(answer: str, confidence: float) -> str:
    r"""A whole completion of `ask`.

    Example:
        >>> state("4", 0.9)
        ' 4\n### Confidence: 0.9'
    """
    return answered(answer) + said(confidence)


def said(confidence: float) -> str:
    """A confidence as it is written, with the space before it."""
    return f" {confidence:.1f}"


def grid_strings(grid: Sequence[float] = GRID) -> list[str]:
    """All confidences as they are written."""
    return [said(confidence) for confidence in grid]
