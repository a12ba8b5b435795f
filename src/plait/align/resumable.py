"""A `transformers.Trainer` that goes on after a kill with the very same numbers: what our trainers of texts share.

Checkpoints are those of `plait.align.checkpoint`: no pickle, visible under their name only when complete, and refused
where anything that decides the numbers is not the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from plait.align import ranks
from plait.align.checkpoint import (
    check_identity,
    read_generators,
    read_state,
    read_trainable,
    torch_generators,
    write_state,
    write_trainable,
)
from plait.errors import RunError

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Called at each log with the step, the number of steps, and the scalars: means over the steps since the last log."""


class ResumableTrainer(Trainer):
    """Adds exact checkpoints, and scalars of its own beside the host's, to a trainer.

    Subclasses set ``network`` (the model) and ``folder`` (of the checkpoints) before the host's ``__init__``, collect
    scalars in ``scalars``, and say what they are in `describe`.
    """

    # The losses of our subclasses are exact for the whole step; the host must not divide them by the number of parts.
    loss_is_scaled_for_ga = True

    scalar: ClassVar[str]
    """A name that is among the scalars of each step, by which entries of the log are known."""

    network: nn.Module
    folder: Path
    scalars: list[Mapping[str, float]]

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """All that decides the run's numbers, by name, as plain JSON."""

    def own_state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside weights, optimiser and generators, as plain JSON."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `own_state`."""

    def run(self) -> list[dict[str, float]]:
        """Train, from the last checkpoint in ``args.output_dir`` if there is one.

        Returns:
            `curve`: the scalars of each log from the first step on, those before a kill included.

        Raises:
            ModelError: The loss is not a number.
            RunError: The checkpoint in the folder belongs to another run, or the ranks do not train the same.
        """
        last = get_last_checkpoint(str(self.folder)) if self.folder.is_dir() else None
        self.train(resume_from_checkpoint=last)
        return self.curve

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> Any:
        """The host's `train`; `run` is the same with resumption from what is there."""
        if not self._identity:
            self._identity = self.describe()  # before the first step changes any weight
        _check_same_on_all_ranks(self._identity, device=self.args.device)
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

    @property
    def curve(self) -> list[dict[str, float]]:
        """The scalars of each log so far, each the mean over the steps since the last."""
        return [dict(entry) for entry in self.state.log_history if self.scalar in entry]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the scalars beside what the host logs."""
        if self.scalars and "learning_rate" in logs:
            names = self.scalars[0]
            means = {name: sum(s[name] for s in self.scalars) / len(self.scalars) for name in names}
            logs = {**logs, **means}
            self.scalars.clear()
        super().log(logs, start_time)

    def tell(self, on_step: OnStep) -> None:
        """Call a function at each log."""
        self.add_callback(_Tell(on_step, self.scalar))

    _identity: Mapping[str, Any] = {}

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint and drop older ones; visible under its name only when all of it is on disk."""
        del model, trial
        generators = torch_generators(self.args.device)
        final = self._checkpoint(self.state.global_step)
        if self.args.should_save:
            best = self._checkpoint(self.state.best_global_step or 0)
            if best == final or best.is_dir():
                self.state.best_model_checkpoint = str(best)
            partial = self.folder / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write_trainable(self.network, partial)
            write_state(
                partial,
                optimizer=cast("torch.optim.Optimizer", self.optimizer),
                scheduler=self.lr_scheduler,
                objective=self.own_state(),
                identity=self._identity,
                generators=generators,
            )
            self.state.save_to_json(str(partial / "trainer_state.json"))
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            self._drop_older()
        ranks.wait()

    def _checkpoint(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def _drop_older(self) -> None:
        """Keep the newest ``save_total_limit`` checkpoints, and the best."""
        newest_first = sorted(self.folder.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
        for older in newest_first[self.args.save_total_limit or len(newest_first) :]:
            if str(older) != self.state.best_model_checkpoint:
                shutil.rmtree(older)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        check_identity(Path(resume_from_checkpoint), self._identity)
        read_trainable(model or self.network, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        read_trainable(self.network, Path(str(self.state.best_model_checkpoint)))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            optimizer = cast("torch.optim.Optimizer", self.optimizer)
            self.load_own_state(read_state(Path(checkpoint), optimizer=optimizer, scheduler=self.lr_scheduler))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            read_generators(Path(checkpoint), device=self.args.device)


def digest(facts: Any) -> str:
    """A hash of plain JSON, for `ResumableTrainer.describe`."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _check_same_on_all_ranks(identity: Mapping[str, Any], *, device: torch.device) -> None:
    number = torch.tensor([int(digest(dict(identity))[:15], 16)], device=device)
    if len(set(ranks.gather(number).tolist())) > 1:
        raise RunError(
            "the processes do not train the same: other texts, settings or weights",
            code="align.ranks-differ",
            where=f"rank {ranks.rank()}",
            hint="build model and texts in the same way, from the same seeds, in every process",
        )


class _Tell(TrainerCallback):
    """Hands each log's scalars to a function."""

    def __init__(self, on_step: OnStep, scalar: str) -> None:
        self._on_step = on_step
        self._scalar = scalar

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, control
        logs = cast("Mapping[str, float]", kwargs["logs"])
        if self._scalar in logs:
            self._on_step(state.global_step, state.max_steps, logs)
