"""What our trainers share: a `transformers.Trainer` with batches known in advance, that resumes to the same numbers.

A subclass says how items become a micro-batch, what a micro-batch adds to the step's loss, and what is measured on
items held out. Here items are dealt to the ranks, the loss is exact for the whole step, and checkpoints are those of
`plait.align.checkpoint`: no pickle, visible under their name only when complete, and refused where anything that
decides the numbers is not the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from plait.align import ranks
from plait.align.arguments import check_checkpointing, decisive, global_batch_size, host_arguments
from plait.align.batches import Batches
from plait.align.checkpoint import (
    check_identity,
    read_generators,
    read_state,
    read_trainable,
    torch_generators,
    write_state,
    write_trainable,
)
from plait.align.reference import weights_fingerprint
from plait.core.seeds import Seeds
from plait.errors import RunError, UsageError
from plait.models.fast_linear import use_fast_linear

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Called at each log with the step, the number of steps, and the scalars: means over the steps since the last log."""


class ResumableTrainer(Trainer):
    """The part of a trainer that does not know what it trains on.

    Args:
        model: All parameters that ask for gradients are trained.
        args: What cannot be honoured is refused by name.
        items: What is trained on; the same on every rank.
        heldout: What is only measured on.
        lengths: Tokens of each item.
        group_by_length: Whether items of similar length meet; see `plait.align.batches`.
        seeds: Root of the order.
        on_step: Called at each log.
        callbacks: The host's.
        optimizers: The host's: an optimiser and a schedule of your own.

    Raises:
        UsageError: The arguments ask for something that cannot be done, or there is nothing to train.
    """

    # The losses of our subclasses are exact for the whole step; the host must not divide them by the number of parts.
    loss_is_scaled_for_ga = True

    kind: ClassVar[str]
    """What the items are, for messages: ``pairs``."""
    scalar: ClassVar[str]
    """A name that is among the scalars of each step, by which entries of the log are known."""
    scorer: ClassVar[str]
    """Where items that were not held out are measured, for messages."""

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        items: Sequence[Any],
        heldout: Sequence[Any],
        lengths: Sequence[int],
        group_by_length: bool,
        seeds: Seeds | None,
        on_step: OnStep | None,
        callbacks: Sequence[TrainerCallback],
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None],
    ) -> None:
        self._check(model, args, items=items, heldout=heldout)
        args = host_arguments(args, items=len(items))
        use_fast_linear(model)
        self.network = model
        self.folder = Path(args.output_dir or ".")
        self.items, self.heldout = list(items), list(heldout)
        self.scalars: list[Mapping[str, float]] = []
        self._identity: Mapping[str, Any] = {}
        self._generators_of: Path | None = None
        self.batches = Batches(
            lengths,
            batch_size=global_batch_size(args),
            micro_batch_size=args.per_device_train_batch_size,
            steps=args.max_steps,
            seeds=seeds or Seeds(args.seed if args.data_seed is None else args.data_seed),
            group_by_length=group_by_length,
        )
        super().__init__(
            model=cast("Any", model),
            args=args,
            train_dataset=cast("Any", range(len(items))),
            eval_dataset=cast("Any", range(len(heldout))) if heldout else None,
            callbacks=list(callbacks),
            optimizers=cast("Any", optimizers),
        )
        self.remove_callback(PrinterCallback)
        if on_step is not None:
            self.add_callback(_Tell(on_step, self.scalar))

    # --- what a subclass says -------------------------------------------------------------------------------------

    @abstractmethod
    def collate(self, rows: list[int]) -> Any:
        """The micro-batch of some items."""

    @abstractmethod
    def begin_step(self, parts: list[Any], device: torch.device) -> list[Any]:
        """This rank's micro-batches of one step, on the device and ready for `part_of_the_loss`."""

    @abstractmethod
    def part_of_the_loss(self, model: nn.Module, part: Any) -> torch.Tensor:
        """What a micro-batch adds to the step's loss, with its part of the exact gradient.

        Data parallelism takes the mean of the ranks' gradients, so this is times the number of ranks. With the last
        part of a step, its scalars go to ``scalars``.
        """

    @abstractmethod
    def measure_heldout(self) -> Mapping[str, float]:
        """Numbers of the items held out, ``loss`` among them; the same on every rank."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """All that decides the run's numbers beside model, order and arguments, by name, as plain JSON."""

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
        """Put the scalars beside what the host logs, and count epochs in items."""
        self.state.epoch = self.state.global_step * self.batches.batch_size / len(self.items)
        if self.scalars and "learning_rate" in logs:
            names = self.scalars[0]
            means = {name: sum(s[name] for s in self.scalars) / len(self.scalars) for name in names}
            logs = {**logs, **means}
            self.scalars.clear()
        super().log(logs, start_time)

    # --- the step -------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches of all steps, in order."""
        mine = cast("Any", ranks.deal(list(self.batches)))
        return DataLoader(cast("Any", range(len(self.items))), batch_sampler=mine, collate_fn=self.collate)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """This rank's micro-batches of one step."""
        parts = list(islice(epoch_iterator, num_batches))
        if self._generators_of is not None:  # before anything of the step draws, and after the loader has drawn
            read_generators(self._generators_of, device=device)
            self._generators_of = None
        return self.begin_step(parts, device), None

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The host's name for `part_of_the_loss`."""
        del num_items_in_batch
        if return_outputs:
            raise UsageError(
                f"{type(self).__name__} has no per-batch outputs", code="align.outputs", hint=f"use {self.scorer}"
            )
        return self.part_of_the_loss(model, inputs)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the host's estimate does not fit rows that share a prefix or hold several texts."""
        del inputs
        return 0

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """What `measure_heldout` finds, each name after ``eval_``: equal whatever the batch size and number of ranks.

        Raises:
            UsageError: Nothing is held out, or other items are given.
            ModelError: The loss is not a number.
        """
        del ignore_keys
        if eval_dataset is not None or not self.heldout:
            raise UsageError(
                f"{type(self).__name__} evaluates the {self.kind} given to it as heldout",
                code="align.no-heldout",
                hint=f"pass heldout=, or use {self.scorer}",
            )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.measure_heldout().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """All that decides the run's numbers, by name, as plain JSON."""
        optimizer = {} if self.optimizer is None else {"optim": type(self.optimizer).__name__}
        return {
            "model": weights_fingerprint(self.network),
            "set of trained weights": [
                [name, list(p.shape)] for name, p in self.network.named_parameters() if p.requires_grad
            ],
            **self.described(),
            f"order of {self.kind}": [self.batches.seeds.seed, *self.batches.seeds.path],
            "number of processes": ranks.count(),
            **decisive(self.args),
            **optimizer,
        }

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
            self._generators_of = Path(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: the host does it after `get_batch_samples`, where a subclass may already have drawn."""
        del checkpoint

    def _check(
        self, model: nn.Module, args: TrainingArguments, *, items: Sequence[Any], heldout: Sequence[Any]
    ) -> None:
        if not items:
            raise UsageError(f"there are no {self.kind} to train on", code="align.nothing-to-train")
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UsageError(
                "no parameter of the model asks for a gradient",
                code="align.nothing-to-train",
                hint="attach a LoRA adapter, or call model.requires_grad_(True)",
            )
        if args.eval_strategy != "no" and not heldout:
            raise UsageError(
                f"eval_strategy is {str(args.to_dict()['eval_strategy'])!r}, but there are no held-out {self.kind}",
                code="align.no-heldout",
                hint="pass heldout=",
            )
        check_checkpointing(model, args)


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
