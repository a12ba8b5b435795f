"""`PairTrainer`: preference training over `transformers.Trainer`, with exact batches and exact resumption.

    reference = reference_logprobs(model, pairs, cache=ReferenceCache(path))
    args = training_arguments(Path("out"), steps=36, batch_size=4, learning_rate=1e-4)
    curve = PairTrainer(model, args, objective=objective, pairs=pairs, reference=reference).run()

What it adds to its host: the prompt computed once per pair, reference log-probabilities computed once per pair,
batches of similar length, and an objective that sees a step's whole batch whatever the micro-batch size. It trains on
one process.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from plait.align.batches import PairBatches
from plait.align.checkpoint import read_generators, read_state, read_trainable, write_state, write_trainable
from plait.align.losses import PairBatch
from plait.align.objectives import Objective
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.align.shared_prefix import LaidOutPairs, Layout, choose_layout, lay_out, pair_logprobs
from plait.core.seeds import Seeds
from plait.errors import ModelError, UsageError

OnStep = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step with the step, the number of steps, and the step's scalars."""


def training_arguments(
    folder: Path,
    *,
    steps: int,
    batch_size: int = 4,
    micro_batch_size: int | None = None,
    learning_rate: float = 1e-4,
    schedule: str = "linear",
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    checkpoint_every: int = 0,
    seed: int = 0,
    use_cpu: bool = False,
) -> TrainingArguments:
    """Arguments for a quiet, deterministic run.

    Args:
        folder: Where checkpoints go.
        steps: Optimiser steps.
        batch_size: Pairs per step.
        micro_batch_size: Pairs per forward pass; a smaller one needs less memory and gives the same step.
        learning_rate: The peak of AdamW's learning rate.
        schedule: A `transformers` schedule: ``linear``, ``cosine``, ``constant``, …
        warmup_steps: Steps until the learning rate is at its peak.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm; 0 leaves them.
        checkpoint_every: Steps between checkpoints; 0 makes none.
        seed: Of the global generators; only a LoRA dropout draws from them.
        use_cpu: Train on the CPU even where there is a GPU.
    """
    micro = micro_batch_size or batch_size
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, batch_size // micro),
        learning_rate=learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        save_strategy="steps" if checkpoint_every else "no",
        save_steps=checkpoint_every or 500,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=False,
        use_cpu=use_cpu,
        bf16=False,
        average_tokens_across_devices=False,
    )


@dataclass(frozen=True)
class _Batch:
    """One micro-batch. ``by_chosen`` and ``by_rejected`` are set where the objective was evaluated beforehand."""

    laid_out: LaidOutPairs
    rows: list[int]
    share: float = 1.0
    by_chosen: Tensor | None = None
    by_rejected: Tensor | None = None
    loss: float = 0.0


class PairTrainer(Trainer):
    """Trains a model on preference pairs.

    Args:
        model: A causal language model; all parameters that ask for gradients are trained (a LoRA adapter's, or all).
        args: From `training_arguments`, or your own; ``max_steps`` must be set.
        objective: What is minimised; its state is part of every checkpoint.
        pairs: The training pairs.
        reference: Log-probabilities of the same pairs under the reference model, in the same order
            (`reference_logprobs`); may be left out for a reference-free objective.
        seeds: Root of the order of the pairs.
        layout: ``auto`` chooses from the model's configuration.
        on_step: Called after each step.

    Raises:
        UsageError: The arguments ask for something this trainer cannot do.
    """

    # The batch's loss is exact for the whole step; the host must not divide it by the number of micro-batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        objective: Objective,
        pairs: Sequence[TokenPair],
        reference: Sequence[PairLogprobs] | None = None,
        seeds: Seeds | None = None,
        layout: Layout | Literal["auto"] = "auto",
        on_step: OnStep | None = None,
    ) -> None:
        _check(args, objective=objective, pairs=pairs, reference=reference)
        self.network = model
        self.folder = Path(args.output_dir or ".")
        self.objective = objective.train()
        self.pairs = list(pairs)
        self.reference = torch.tensor(reference if reference is not None else [(0.0, 0.0)] * len(self.pairs))
        longest = max(pair.longest_branch for pair in self.pairs)
        self.layout: Layout
        if layout == "auto":
            self.layout, self.layout_reason = choose_layout(model, longest=longest)
        else:
            self.layout, self.layout_reason = layout, "chosen by the caller"
        self.batches = PairBatches(
            [pair.length for pair in self.pairs],
            batch_size=args.per_device_train_batch_size * args.gradient_accumulation_steps,
            micro_batch_size=args.per_device_train_batch_size,
            steps=args.max_steps,
            seeds=seeds or Seeds(args.seed),
        )
        self._scalars: dict[str, float] = {}
        self._identity = ""
        super().__init__(model=cast("Any", model), args=args, train_dataset=cast("Any", range(len(self.pairs))))
        self.remove_callback(PrinterCallback)
        if on_step is not None:
            self.add_callback(_Tell(on_step))

    def run(self) -> list[dict[str, float]]:
        """Train, from the last checkpoint in ``args.output_dir`` if there is one.

        Returns:
            The scalars of each step from the first on, those before a kill included.

        Raises:
            ModelError: The loss is not a number.
            RunError: The checkpoint in the folder belongs to other pairs or settings.
        """
        self._identity = self._describe()
        last = get_last_checkpoint(str(self.folder)) if self.folder.is_dir() else None
        self.train(resume_from_checkpoint=last)
        return self.curve

    @property
    def curve(self) -> list[dict[str, float]]:
        """The scalars of each step so far."""
        return [dict(entry) for entry in self.state.log_history if "beta" in entry]

    # --- data -----------------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Micro-batches of all steps, in order."""
        rows = cast("Any", range(len(self.pairs)))
        return DataLoader(rows, batch_sampler=self.batches, collate_fn=self._collate)

    def _collate(self, rows: list[int]) -> _Batch:
        return _Batch(lay_out([self.pairs[row] for row in rows], layout=self.layout), rows)

    def get_batch_samples(
        self, epoch_iterator: Iterator[_Batch], num_batches: int, device: torch.device
    ) -> tuple[list[_Batch], None]:
        """All micro-batches of one step, with the objective already evaluated on the whole where it must be."""
        batches = [replace(batch, laid_out=batch.laid_out.to(device)) for batch in islice(epoch_iterator, num_batches)]
        total = sum(len(batch.rows) for batch in batches)
        batches = [replace(batch, share=len(batch.rows) / total) for batch in batches]
        if len(batches) > 1 and not self.objective.separable:
            batches = self._evaluated(batches)
        return batches, None

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    # --- the step -------------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's part of the step's loss."""
        del num_items_in_batch
        if return_outputs:
            raise UsageError(
                "PairTrainer has no per-batch outputs", code="align.outputs", hint="use plait.align.evaluate"
            )
        batch = cast("_Batch", inputs)
        self._dropout_off(model)
        chosen, rejected = pair_logprobs(model, batch.laid_out)
        if batch.by_chosen is not None and batch.by_rejected is not None:
            surrogate = (batch.by_chosen * chosen + batch.by_rejected * rejected).sum()
            return surrogate - surrogate.detach() + batch.loss
        result = self.objective(self._pair_batch(batch.rows, chosen, rejected))
        self._take(result.scalars, batch.rows, share=batch.share)
        return result.loss * batch.share

    def _evaluated(self, batches: Sequence[_Batch]) -> list[_Batch]:
        """The objective on the whole step: log-probabilities first, then the derivative by each of them.

        Source: Gao et al. 2021, gradient caching (arXiv 2101.06983), here for the log-probabilities of pairs.
        """
        rows = [row for batch in batches for row in batch.rows]
        self._dropout_off(self.network)
        # A LoRA dropout must drop the same units when the parts are run again with gradients.
        with torch.random.fork_rng(), torch.no_grad():
            parts = [pair_logprobs(self.network, batch.laid_out) for batch in batches]
        chosen, rejected = (torch.cat(side) for side in zip(*parts, strict=True))
        result, by_chosen, by_rejected = self.objective.coefficients(self._pair_batch(rows, chosen, rejected))
        self._take(result.scalars, rows)
        evaluated: list[_Batch] = []
        start = 0
        for batch in batches:
            part = slice(start, start + len(batch.rows))
            loss = float(result.loss) * batch.share
            evaluated.append(replace(batch, by_chosen=by_chosen[part], by_rejected=by_rejected[part], loss=loss))
            start = part.stop
        return evaluated

    def _pair_batch(self, rows: Sequence[int], chosen: Tensor, rejected: Tensor) -> PairBatch:
        reference = self.reference[list(rows)].to(chosen.device)
        lengths = torch.tensor([[len(self.pairs[row].chosen), len(self.pairs[row].rejected)] for row in rows])
        lengths = lengths.to(chosen)
        return PairBatch(chosen, rejected, reference[:, 0], reference[:, 1], lengths[:, 0], lengths[:, 1])

    def _take(self, scalars: Mapping[str, float], rows: Sequence[int], *, share: float = 1.0) -> None:
        """Add a part's scalars to those of the step; a loss that is not a number ends the run here."""
        if not math.isfinite(scalars["loss"]):
            raise ModelError(
                f"the loss is {scalars['loss']} at step {self.state.global_step + 1}",
                code="align.loss-not-finite",
                where=f"pairs {', '.join(self.pairs[row].id for row in rows)}",
                hint="look at these pairs, or lower the learning rate",
            )
        for name, value in scalars.items():
            counted = 1.0 if name == "effective_pairs" else share  # a number of pairs adds up, all others are means
            self._scalars[name] = self._scalars.get(name, 0.0) + counted * value

    def _dropout_off(self, model: nn.Module) -> None:
        """Policy and reference are compared without dropout; only a LoRA adapter's own, if asked for, stays on."""
        model.eval()
        for name, module in model.named_modules():
            if "lora_dropout" in name:
                module.train()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the objective's scalars beside what the host logs."""
        if self._scalars and "learning_rate" in logs:
            logs, self._scalars = {**logs, **self._scalars}, {}
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the host's estimate does not fit shared prefixes."""
        del inputs
        return 0

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint and drop older ones; visible under its name only when all of it is on disk."""
        del model, trial
        final = self.folder / f"checkpoint-{self.state.global_step}"
        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_trainable(self.network, partial)
        write_state(
            partial,
            optimizer=cast("torch.optim.Optimizer", self.optimizer),
            scheduler=self.lr_scheduler,
            objective=self.objective.state_dict(),
            identity=self._identity or self._describe(),
        )
        self.state.save_to_json(str(partial / "trainer_state.json"))
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for older in self.folder.glob("checkpoint-*"):
            if older != final:
                shutil.rmtree(older)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        read_trainable(model or self.network, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            state = read_state(
                Path(checkpoint),
                optimizer=cast("torch.optim.Optimizer", self.optimizer),
                scheduler=self.lr_scheduler,
                identity=self._identity or self._describe(),
            )
            self.objective.load_state_dict(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            read_generators(Path(checkpoint))

    def _describe(self) -> str:
        """A hash of all that decides the run's numbers, except the frozen weights."""
        args = self.args
        facts = {
            "pairs": [[p.id, p.prompt, p.chosen, p.rejected] for p in self.pairs],
            "reference": self.reference.tolist(),
            "objective": self.objective.settings(),
            "seeds": [self.batches.seeds.seed, *self.batches.seeds.path],
            "layout": self.layout,
            "args": [
                args.max_steps,
                args.per_device_train_batch_size,
                args.gradient_accumulation_steps,
                args.learning_rate,
                str(args.lr_scheduler_type),
                args.warmup_steps,
                args.weight_decay,
                args.max_grad_norm,
                str(args.optim),
                args.seed,
            ],
            "trained": [[n, list(p.shape)] for n, p in self.network.named_parameters() if p.requires_grad],
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class _Tell(TrainerCallback):
    """Hands each step's scalars to a function."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        del args, control
        logs = cast("Mapping[str, float]", kwargs["logs"])
        if "beta" in logs:
            self._on_step(state.global_step, state.max_steps, logs)


def _check(
    args: TrainingArguments,
    *,
    objective: Objective,
    pairs: Sequence[TokenPair],
    reference: Sequence[PairLogprobs] | None,
) -> None:
    if not pairs:
        raise UsageError("there are no pairs to train on", code="align.no-pairs")
    if reference is None and objective.needs_reference:
        raise UsageError(
            "the objective compares with a reference model, but no reference log-probabilities were given",
            code="align.no-reference",
            hint="pass reference=reference_logprobs(model, pairs, cache=ReferenceCache())",
        )
    if reference is not None and len(reference) != len(pairs):
        raise UsageError(
            f"{len(reference)} reference log-probabilities for {len(pairs)} pairs", code="align.no-reference"
        )
    if args.max_steps <= 0:
        raise UsageError("max_steps must be set", code="align.max-steps", hint="use training_arguments(steps=…)")
    if args.world_size > 1 or args.n_gpu > 1:
        raise UsageError(
            f"PairTrainer trains on one device, not {max(args.world_size, args.n_gpu)}",
            code="align.one-device",
            hint="set CUDA_VISIBLE_DEVICES to one GPU",
        )
    if args.gradient_checkpointing:
        raise UsageError(
            "gradient checkpointing needs training mode, and pairs are compared without dropout",
            code="align.gradient-checkpointing",
            hint="lower micro_batch_size instead",
        )
