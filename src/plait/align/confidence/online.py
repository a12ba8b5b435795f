"""Reward functions for TRL's `GRPOTrainer` and `RLOOTrainer`.

    reward = CalibrationReward(ConfidenceReward(kind="brier"), quality=exact)
    GRPOTrainer(model, reward_funcs=[reward], args=args, train_dataset=dataset).train()

TRL 1.16 calls a reward function with the prompts and completions of one process as lists, and the data set's other
columns by name, and wants one float for each. The order reward compares samples, so those of all processes are
gathered first: the published code compares within a process, where a batch of 1 earns nothing whatever it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from plait.align import ranks
from plait.align.confidence.parse import count_statuses, parse_confidence, strip_confidence
from plait.align.confidence.rewards import ConfidenceReward

Quality = Callable[[str, dict[str, Any]], float]
"""From an answer without its confidence, and its row of the data set with its prompt, to a number: a scorer."""


class CalibrationReward:
    """Quality plus α times what the stated confidence earns.

    Args:
        reward: What a confidence earns; a missing one its fixed penalty.
        quality: Sees the answer without its confidence: a reward model that sees it can be pleased by it.
        alpha: α as it is, or from the share of training done (0 to 1).

    Source: CONQORD (arXiv 2404.17287), R = R_Q + α R_A.
    """

    __name__ = "calibration"  # TRL logs a reward function under its name

    def __init__(
        self, reward: ConfidenceReward, *, quality: Quality, alpha: float | Callable[[float], float] = 1.0
    ) -> None:
        self.reward = reward
        self.quality = quality
        self.alpha = alpha
        self.statuses: dict[str, int] = {}

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """One reward per completion of this process."""
        texts = [_text(completion) for completion in completions]
        parsed = [parse_confidence(text) for text in texts]
        for status, count in count_statuses(parsed).items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        given: dict[str, list[Any]] = {name: values for name, values in columns.items() if isinstance(values, list)}
        given["prompt"] = [_text(prompt) for prompt in prompts]
        rows = [{name: values[i] for name, values in given.items()} for i in range(len(texts))]
        quality = [float(self.quality(strip_confidence(text), row)) for text, row in zip(texts, rows, strict=True)]
        mine = [(_text(p), q, one.value) for p, q, one in zip(prompts, quality, parsed, strict=True)]
        everyone, first = _gather(mine)
        earned = self.reward(
            [value for _, _, value in everyone],
            quality=[q for _, q, _ in everyone],
            prompts=[prompt for prompt, _, _ in everyone],
        )[first : first + len(mine)]
        alpha = self.alpha if isinstance(self.alpha, float | int) else self.alpha(_done(columns.get("trainer_state")))
        return (np.asarray(quality) + alpha * earned).tolist()


def _text(message: Any) -> str:
    """Of plain text, or of a conversation's turns."""
    return message if isinstance(message, str) else "\n".join(str(turn["content"]) for turn in message)


def _gather(mine: list[tuple[str, float, float | None]]) -> tuple[list[tuple[str, float, float | None]], int]:
    """The samples of all processes, and where this one's start."""
    if ranks.count() == 1:
        return mine, 0
    import torch.distributed as dist

    found: list[Any] = [None] * ranks.count()
    dist.all_gather_object(found, mine)
    parts = cast("list[list[tuple[str, float, float | None]]]", found)
    return [one for part in parts for one in part], sum(len(part) for part in parts[: ranks.rank()])


def _done(state: Any) -> float:
    return 0.0 if state is None or not state.max_steps else state.global_step / state.max_steps
