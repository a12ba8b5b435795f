"""`PairTrainer`: preference training over `transformers.Trainer`, with exact batches and exact resumption.

    reference = reference_logprobs(model, pairs, cache=ReferenceCache(path))
    args = training_arguments(Path("out"), steps=36, batch_size=4, learning_rate=1e-4)
    curve = PairTrainer(model, args, objective=objective, pairs=pairs, reference=reference).run()

What it adds to its host: the prompt computed once per pair, reference log-probabilities computed once per pair, no
padding (or batches of similar length where rows must be padded), and an objective that sees a step's whole batch,
however it is split into micro-batches and over processes (``torchrun``). From records to a trained model in one call:
`plait.align.training`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_callback import PrinterCallback

from plait.align import ranks
from plait.align.arguments import (
    check_checkpointing,
    decisive,
    global_batch_size,
    host_arguments,
    training_arguments,
)
from plait.align.batches import PairBatches
from plait.align.checkpoint import read_generators
from plait.align.checks import check_heldout, check_training
from plait.align.objectives import Objective
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs, weights_fingerprint
from plait.align.resumable import OnStep, ResumableTrainer, digest
from plait.align.shared_prefix import LaidOutPairs, Layout, choose_layout, lay_out, pair_logprobs
from plait.align.step import PairTable, Step, finite_scalars, require_finite
from plait.core.seeds import Seeds
from plait.errors import UsageError

__all__ = ["OnStep", "PairTrainer", "training_arguments"]

_log = logging.getLogger(__name__)
_OBJECTIVE = "PairTrainer.objective"  # beside what callbacks keep, in the host's state file


@dataclass(frozen=True)
class _MicroBatch:
    """Pairs for one forward pass, and which of this rank's parts of the step they are."""

    rows: list[int]
    laid_out: LaidOutPairs
    number: int = 0


class PairTrainer(ResumableTrainer):
    """Trains a model on preference pairs.

    Args:
        model: A causal language model; all parameters that ask for gradients are trained (a LoRA adapter's, or all).
        args: From `training_arguments`, or your own; what cannot be honoured is refused by name.
        objective: What is minimised; its state is part of every checkpoint.
        pairs: The training pairs; the same on every rank.
        reference: Log-probabilities of the same pairs under the reference model, in the same order
            (`reference_logprobs`); may be left out for a reference-free objective. They are computed before training,
            so that no second model is in memory: not even for full fine-tuning, where they come from the model
            before its first step or from any other.
        heldout: Pairs that are only measured on, at ``args.eval_strategy`` and by `evaluate`.
        heldout_reference: Their reference log-probabilities.
        seeds: Root of the order of the pairs.
        layout: ``auto`` chooses from the model's configuration, and logs where the shared prefix would not be exact.
        on_step: Called at each log.
        callbacks: The host's.
        optimizers: The host's: an optimiser and a schedule of your own.

    Raises:
        UsageError: The arguments ask for something this trainer cannot do.
        ModelError: A reference log-probability is not finite.
    """

    scalar: ClassVar[str] = "beta"

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        objective: Objective,
        pairs: Sequence[TokenPair],
        reference: Sequence[PairLogprobs] | None = None,
        heldout: Sequence[TokenPair] = (),
        heldout_reference: Sequence[PairLogprobs] | None = None,
        seeds: Seeds | None = None,
        layout: Layout | Literal["auto"] = "auto",
        on_step: OnStep | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
    ) -> None:
        check_training(model, objective=objective, pairs=pairs, reference=reference)
        check_heldout(args, objective=objective, heldout=heldout, reference=heldout_reference)
        check_checkpointing(model, args)
        args = host_arguments(args, pairs=len(pairs))
        self.network = model
        self.folder = Path(args.output_dir or ".")
        self.objective = objective.train()
        self.pairs = list(pairs)
        self.table = PairTable.of(self.pairs, reference)
        self.heldout = list(heldout)
        self.heldout_table = PairTable.of(self.heldout, heldout_reference) if heldout else None
        self.layout: Layout
        if layout == "auto":
            longest = max(pair.longest_branch for pair in [*self.pairs, *self.heldout])
            self.layout, self.layout_reason = choose_layout(model, longest=longest)
            _log.log(logging.INFO if self.layout == "shared_prefix" else logging.WARNING, self.layout_reason)
        else:
            self.layout, self.layout_reason = layout, "chosen by the caller"
        self.batches = PairBatches(
            [pair.length for pair in self.pairs],
            batch_size=global_batch_size(args),
            micro_batch_size=args.per_device_train_batch_size,
            steps=args.max_steps,
            seeds=seeds or Seeds(args.seed if args.data_seed is None else args.data_seed),
            # The shared prefix pads nothing, and batches drawn at random are better statistics of the pairs.
            group_by_length=self.layout == "two_branch" or args.train_sampling_strategy == "group_by_length",
        )
        self._step: Step | None = None
        self._resumed_from: Path | None = None
        self.scalars = []
        super().__init__(
            model=cast("Any", model),
            args=args,
            train_dataset=cast("Any", range(len(self.pairs))),
            eval_dataset=cast("Any", range(len(self.heldout))) if heldout else None,
            callbacks=list(callbacks),
            optimizers=cast("Any", optimizers),
        )
        self.remove_callback(PrinterCallback)
        if on_step is not None:
            self.tell(on_step)

    # --- data -----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches of all steps, in order."""
        mine = cast("Any", ranks.deal(list(self.batches)))
        return DataLoader(cast("Any", range(len(self.pairs))), batch_sampler=mine, collate_fn=self._collate)

    def _collate(self, rows: list[int]) -> _MicroBatch:
        return _MicroBatch(rows, lay_out([self.pairs[row] for row in rows], layout=self.layout))

    # --- the step -------------------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[_MicroBatch], num_batches: int, device: torch.device
    ) -> tuple[list[_MicroBatch], None]:
        """This rank's micro-batches of one step; where the objective must look ahead, it has seen them all."""
        parts = [
            replace(batch, laid_out=batch.laid_out.to(device), number=number)
            for number, batch in enumerate(islice(epoch_iterator, num_batches))
        ]
        self._step = Step(
            self.objective,
            self.table,
            [part.rows for part in parts],
            number=self.state.global_step + 1,
            device=device,
        )
        if self._resumed_from is not None:  # before anything draws, and after the loader has drawn its seed
            read_generators(self._resumed_from, device=device)
            self._resumed_from = None
        if self._step.looks_ahead:
            _dropout_off(self.network)
            # A LoRA dropout must drop the same units when the parts are run again with gradients.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
                self._step.see([pair_logprobs(self.network, part.laid_out) for part in parts])
        return parts, None

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's part of the step's loss, with its part of the exact gradient."""
        del num_items_in_batch
        if return_outputs:
            raise UsageError(
                "PairTrainer has no per-batch outputs", code="align.outputs", hint="use plait.align.evaluate"
            )
        batch, step = cast("_MicroBatch", inputs), cast("Step", self._step)
        _dropout_off(model)
        chosen, rejected = pair_logprobs(model, batch.laid_out)
        part = step.part(batch.number, chosen, rejected)
        if batch.number == len(step.parts) - 1:
            self.scalars.append(step.scalars)
        surrogate = (part.by_chosen * chosen + part.by_rejected * rejected).sum()
        # Its value is the loss, its gradient the sum over ranks, of which data parallelism takes the mean.
        return ranks.count() * (surrogate - surrogate.detach()) + part.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the objective's scalars beside what the host logs, and count epochs in pairs."""
        self.state.epoch = self.state.global_step * self.batches.batch_size / len(self.pairs)
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the host's estimate does not fit shared prefixes."""
        del inputs
        return 0

    # --- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The objective's scalars on the held-out pairs as one batch; its state stays as it was, unless it is official.

        Returns:
            ``eval_loss``, ``eval_gap``, ``eval_accuracy``, …: equal whatever ``per_device_eval_batch_size`` and the
            number of ranks.

        Raises:
            UsageError: There are no held-out pairs, or others are given: they need reference log-probabilities.
            ModelError: The loss is not a number.
        """
        del ignore_keys
        if eval_dataset is not None or self.heldout_table is None:
            raise UsageError(
                "PairTrainer evaluates the pairs given to it as heldout",
                code="align.no-heldout",
                hint="pass heldout= and heldout_reference=, or use plait.align.evaluate.score_pairs",
            )
        rows = torch.arange(len(self.heldout))
        chosen, rejected = self._heldout_logprobs()
        when = f"on the held-out pairs after step {self.state.global_step}"
        require_finite(self.heldout_table, rows, chosen, rejected, when=when)
        result = self.objective.eval()(self.heldout_table.batch(rows, chosen, rejected))
        self.objective.train()
        scalars = finite_scalars(result, self.heldout_table, rows, when=when)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scalars.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _heldout_logprobs(self) -> tuple[Tensor, Tensor]:
        """Of all held-out pairs, dealt to the ranks; ``[heldout]`` each."""
        mine = ranks.deal(self.heldout)
        size = self.args.per_device_eval_batch_size
        was_training = self.network.training
        self.network.eval()
        found = [torch.zeros(0, 2, device=self.args.device)]
        with torch.no_grad(), self.accelerator.autocast():
            for start in range(0, len(mine), size):
                laid_out = lay_out(mine[start : start + size], layout=self.layout).to(self.args.device)
                found.append(torch.stack(pair_logprobs(self.network, laid_out), dim=1))
        self.network.train(was_training)
        chosen, rejected = ranks.gather(torch.cat(found)).unbind(1)
        return chosen, rejected

    # --- checkpoints ----------------------------------------------------------------------------------------------

    @property
    def _kept(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.state.stateful_callbacks)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._kept[_OBJECTIVE] = self.objective.state_dict()
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.objective.load_state_dict(self._kept[_OBJECTIVE])
            self._resumed_from = Path(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing: the host would do it after `get_batch_samples` has drawn."""
        del checkpoint

    def describe(self) -> dict[str, Any]:
        """All that decides the run's numbers, by name."""
        optimizer = {} if self.optimizer is None else {"optim": type(self.optimizer).__name__}
        return {
            "objective": self.objective.settings(),
            "model": weights_fingerprint(self.network),
            "set of trained weights": [
                [name, list(p.shape)] for name, p in self.network.named_parameters() if p.requires_grad
            ],
            "set of pairs": digest(
                [digest([p.id, p.prompt, p.chosen, p.rejected, p.weight, p.flip_prior]) for p in self.pairs]
            ),
            "reference model": digest(self.table.reference.tolist()),
            "order of pairs": [self.batches.seeds.seed, *self.batches.seeds.path],
            "layout": self.layout,
            "number of processes": ranks.count(),
            **decisive(self.args),
            **optimizer,
        }


def _dropout_off(model: nn.Module) -> None:
    """Policy and reference are compared without dropout; only a LoRA adapter's own, if asked for, stays on."""
    model.eval()
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
        elif isinstance(module, GradientCheckpointingLayer):
            module.training = True  # a layer recomputes only in training mode; its own modules stay in eval mode
