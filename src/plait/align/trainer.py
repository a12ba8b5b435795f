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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from plait.align import ranks
from plait.align.arguments import training_arguments
from plait.align.checks import check_reference
from plait.align.objectives import Objective
from plait.align.pairs import TokenPair
from plait.align.reference import PairLogprobs
from plait.align.resumable import OnStep, ResumableTrainer, digest
from plait.align.shared_prefix import LaidOutPairs, Layout, choose_layout, lay_out, pair_logprobs
from plait.align.step import PairTable, Step, finite_scalars, require_finite
from plait.core.seeds import Seeds

__all__ = ["OnStep", "PairTrainer", "training_arguments"]

_log = logging.getLogger(__name__)


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

    kind: ClassVar[str] = "pairs"
    scalar: ClassVar[str] = "beta"
    scorer: ClassVar[str] = "plait.align.evaluate.score_pairs"

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
        check_reference(
            objective, pairs=pairs, reference=reference, heldout=heldout, heldout_reference=heldout_reference
        )
        self.objective = objective.train()
        self.table = PairTable.of(pairs, reference)
        self.heldout_table = PairTable.of(heldout, heldout_reference)
        self.layout: Layout
        if layout == "auto":
            longest = max((pair.longest_branch for pair in [*pairs, *heldout]), default=0)
            self.layout, self.layout_reason = choose_layout(model, longest=longest)
            _log.log(logging.INFO if self.layout == "shared_prefix" else logging.WARNING, self.layout_reason)
        else:
            self.layout, self.layout_reason = layout, "chosen by the caller"
        self._step: Step | None = None
        super().__init__(
            model,
            args,
            items=pairs,
            heldout=heldout,
            lengths=[pair.length for pair in pairs],
            # The shared prefix pads nothing, and batches drawn at random are better statistics of the pairs.
            group_by_length=self.layout == "two_branch" or args.train_sampling_strategy == "group_by_length",
            seeds=seeds,
            on_step=on_step,
            callbacks=callbacks,
            optimizers=optimizers,
        )

    def collate(self, rows: list[int]) -> _MicroBatch:
        """Some pairs, laid out."""
        return _MicroBatch(rows, lay_out([self.items[row] for row in rows], layout=self.layout))

    def begin_step(self, parts: list[_MicroBatch], device: torch.device) -> list[_MicroBatch]:
        """Micro-batches of the step; where the objective must look ahead, it has seen them all."""
        parts = [replace(p, laid_out=p.laid_out.to(device), number=n) for n, p in enumerate(parts)]
        rows, number = [part.rows for part in parts], self.state.global_step + 1
        self._step = Step(self.objective, self.table, rows, number=number, device=device)
        if self._step.looks_ahead:
            _dropout_off(self.network)
            # A LoRA dropout must drop the same units when the parts are run again with gradients.
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
                self._step.see([pair_logprobs(self.network, part.laid_out) for part in parts])
        return parts

    def part_of_the_loss(self, model: nn.Module, part: _MicroBatch) -> Tensor:
        """A tensor whose value is this micro-batch's part of the step's loss, and whose gradient that of the whole."""
        step = cast("Step", self._step)
        _dropout_off(model)
        chosen, rejected = pair_logprobs(model, part.laid_out)
        found = step.part(part.number, chosen, rejected)
        if part.number == len(step.parts) - 1:
            self.scalars.append(step.scalars)
        surrogate = (found.by_chosen * chosen + found.by_rejected * rejected).sum()
        return ranks.count() * (surrogate - surrogate.detach()) + found.loss

    def measure_heldout(self) -> Mapping[str, float]:
        """Scalars of the held-out pairs as one batch; only an official objective changes its state by it."""
        rows = torch.arange(len(self.heldout))
        chosen, rejected = self._heldout_logprobs()
        when = f"on the held-out pairs after step {self.state.global_step}"
        require_finite(self.heldout_table, rows, chosen, rejected, when=when)
        result = self.objective.eval()(self.heldout_table.batch(rows, chosen, rejected))
        self.objective.train()
        return finite_scalars(result, self.heldout_table, rows, when=when)

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

    def own_state(self) -> dict[str, Any]:
        """The objective's."""
        return self.objective.state_dict()

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """The objective's."""
        self.objective.load_state_dict(state)

    def described(self) -> dict[str, Any]:
        """The objective, the pairs with their reference log-probabilities, and how they are laid out."""
        return {
            "objective": self.objective.settings(),
            "set of pairs": digest(
                [digest([p.id, p.prompt, p.chosen, p.rejected, p.weight, p.flip_prior, p.group]) for p in self.items]
            ),
            "reference model": digest(self.table.reference.tolist()),
            "layout": self.layout,
        }


def _dropout_off(model: nn.Module) -> None:
    """Policy and reference are compared without dropout; only a LoRA adapter's own, if asked for, stays on."""
    model.eval()
    for name, module in model.named_modules():
        if "lora_dropout" in name:
            module.train()
        elif isinstance(module, GradientCheckpointingLayer):
            module.training = True  # a layer recomputes only in training mode; its own modules stay in eval mode
