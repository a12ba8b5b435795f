"""Records for the fine-tuning step that teaches a model the format, and nothing about its knowledge."""

from __future__ import annotations

from collections.abc import Iterable

from plait.align.confidence.prompts import GRID, ask, state
from plait.core.seeds import Seeds


def format_records(questions: Iterable[tuple[str, str]], *, seeds: Seeds) -> list[dict[str, str]]:
    """Question and answer to prompt and completion, with a confidence drawn at random from `GRID`.

    At random, so that the format is learnt and no confidence preferred: what fits is learnt afterwards. Train on them
    with `plait.align.sft.train_texts`.

    Source: CONQORD (arXiv 2404.17287), step 1 of the released scripts; there the loss covers the prompt too.
    """
    questions = list(questions)
    drawn = seeds.child("format").numpy().integers(len(GRID), size=len(questions))
    return [
        {"prompt": ask(question), "completion": state(answer, GRID[index])}
        for (question, answer), index in zip(questions, drawn, strict=True)
    ]
