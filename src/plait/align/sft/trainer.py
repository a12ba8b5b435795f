"""`TextTrainer`: supervised fine-tuning over `transformers.Trainer`, with exact steps and exact resumption.

    texts = tokenise_texts(records, tokenizer=tokenizer).texts
    args = training_arguments(Path("out"), steps=100, batch_size=8, learning_rate=1e-4)
    curve = TextTrainer(model, args, texts=texts).run()

The loss of a step is the mean over all tokens that are learnt in it: every token counts alike, however the step is
split into micro-batches and over processes (``torchrun``). What it adds to its host beside that: packed rows, a
vocabulary head on learnt tokens only, batches of similar length, and checkpoints that resume to the same bits.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from plait.align import ranks
from plait.align.arguments import check_checkpointing, decisive, global_batch_size, host_arguments
from plait.align.batches import PairBatches
from plait.align.reference import weights_fingerprint
from plait.align.resumable import OnStep, ResumableTrainer, digest
from plait.align.sft.evaluate import score_texts
from plait.align.sft.packing import PackedTexts, pack, token_losses
from plait.align.sft.texts import TokenText
from plait.align.shared_prefix import why_two_branches
from plait.core.seeds import Seeds
from plait.errors import ModelError, UsageError

_log = logging.getLogger(__name__)
_NAMED = 8  # texts that an error lists


@dataclass(frozen=True)
class _MicroBatch:
    """Texts for one forward pass, how much each learnt token counts, and the sum of that over the whole step."""

    rows: list[int]
    texts: PackedTexts
    weight: Tensor
    total: float = 1.0
    last: bool = False


class TextTrainer(ResumableTrainer):
    """Trains a model to continue texts.

    Args:
        model: A causal language model; all parameters that ask for gradients are trained (a LoRA adapter's, or all).
        args: From `plait.align.training_arguments`, or your own; what cannot be honoured is refused by name.
        texts: The training texts; the same on every rank.
        heldout: Texts that are only measured on, at ``args.eval_strategy`` and by `evaluate`.
        packed: Let short texts share a row; where that is not exact for the model, each has its own all the same, and
            the log says why.
        seeds: Root of the order of the texts.
        on_step: Called at each log.
        callbacks: The host's.
        optimizers: The host's: an optimiser and a schedule of your own.

    Raises:
        UsageError: The arguments ask for something this trainer cannot do.
    """

    scalar: ClassVar[str] = "tokens"

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        texts: Sequence[TokenText],
        heldout: Sequence[TokenText] = (),
        packed: bool = True,
        seeds: Seeds | None = None,
        on_step: OnStep | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
    ) -> None:
        _check(model, args, texts=texts, heldout=heldout)
        args = host_arguments(args, pairs=len(texts))
        self.network = model
        self.folder = Path(args.output_dir or ".")
        self.scalars = []
        self.texts = list(texts)
        self.heldout = list(heldout)
        self.packed, self.layout_reason = choose_packing(model, [*texts, *heldout], packed=packed)
        self.batches = PairBatches(
            [len(text.tokens) for text in self.texts],
            batch_size=global_batch_size(args),
            micro_batch_size=args.per_device_train_batch_size,
            steps=args.max_steps,
            seeds=seeds or Seeds(args.seed if args.data_seed is None else args.data_seed),
        )
        self._step_loss = torch.zeros(2, dtype=torch.float64)  # weighted loss, and learnt tokens, so far in this step
        super().__init__(
            model=cast("Any", model),
            args=args,
            train_dataset=cast("Any", range(len(self.texts))),
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
        return DataLoader(cast("Any", range(len(self.texts))), batch_sampler=mine, collate_fn=self._collate)

    def _collate(self, rows: list[int]) -> _MicroBatch:
        packed = pack([self.texts[row] for row in rows], packed=self.packed)
        return _MicroBatch(rows, packed, torch.tensor([self.texts[row].weight for row in rows])[packed.owners])

    # --- the step -------------------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[_MicroBatch], num_batches: int, device: torch.device
    ) -> tuple[list[_MicroBatch], None]:
        """This rank's micro-batches of one step, which know how many tokens the whole step learns."""
        parts = list(islice(epoch_iterator, num_batches))
        mine = torch.stack([part.weight.double().sum() for part in parts]).sum()
        total = float(ranks.gather(mine[None].to(device)).sum())
        self._step_loss.zero_()
        parts = [replace(p, texts=p.texts.to(device), weight=p.weight.to(device), total=total) for p in parts]
        return [*parts[:-1], replace(parts[-1], last=True)], None

    def _prepare_inputs(self, inputs: Any) -> Any:
        return inputs

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's part of the step's loss: the sum of its tokens' losses over all tokens of the step."""
        del num_items_in_batch
        if return_outputs:
            raise UsageError(
                "TextTrainer has no per-batch outputs", code="align.outputs", hint="use plait.align.sft.evaluate"
            )
        batch = cast("_MicroBatch", inputs)
        losses = token_losses(model, batch.texts)
        loss = (batch.weight * losses).sum() / batch.total
        self._take(batch, losses.detach(), float(loss.detach()))
        return ranks.count() * loss  # data parallelism takes the mean of the ranks' gradients

    def _take(self, batch: _MicroBatch, losses: Tensor, loss: float) -> None:
        """Add a part to the step's scalars; a loss that is not a number ends the run here."""
        if not math.isfinite(loss):
            owners = batch.texts.owners[~losses.isfinite()].unique().tolist()
            ids = [self.texts[batch.rows[n]].id for n in owners][:_NAMED]
            raise ModelError(
                f"the loss is {loss} at step {self.state.global_step + 1}",
                code="align.loss-not-finite",
                where=f"texts {', '.join(ids)}",
                hint="look at these texts, or lower the learning rate",
            )
        self._step_loss += torch.tensor([loss, float(len(losses))], dtype=torch.float64)
        if batch.last:
            whole = ranks.gather(self._step_loss[None].to(losses.device)).sum(0)
            self.scalars.append({"loss": float(whole[0]), "tokens": float(whole[1])})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the step's scalars beside what the host logs, and count epochs in texts."""
        self.state.epoch = self.state.global_step * self.batches.batch_size / len(self.texts)
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the host's estimate does not fit packed rows."""
        del inputs
        return 0

    # --- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Loss per learnt token and perplexity of the held-out texts.

        Returns:
            ``eval_loss`` (nats per token) and ``eval_perplexity``; equal whatever ``per_device_eval_batch_size``.

        Raises:
            UsageError: There are no held-out texts, or others are given.
        """
        del ignore_keys
        if eval_dataset is not None or not self.heldout:
            raise UsageError(
                "TextTrainer evaluates the texts given to it as heldout",
                code="align.no-heldout",
                hint="pass heldout=, or use plait.align.sft.evaluate.score_texts",
            )
        size = self.args.per_device_eval_batch_size
        scores = score_texts(self.network, self.heldout, packed=self.packed, batch_size=size)
        found = {"loss": scores.per_token, "perplexity": scores.perplexity}
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """All that decides the run's numbers, by name."""
        optimizer = {} if self.optimizer is None else {"optim": type(self.optimizer).__name__}
        return {
            "model": weights_fingerprint(self.network),
            "set of trained weights": [
                [name, list(p.shape)] for name, p in self.network.named_parameters() if p.requires_grad
            ],
            "set of texts": digest([[t.id, t.tokens, t.learn, t.weight] for t in self.texts]),
            "order of texts": [self.batches.seeds.seed, *self.batches.seeds.path],
            "packing": self.packed,
            "number of processes": ranks.count(),
            **decisive(self.args),
            **optimizer,
        }


def choose_packing(model: nn.Module, texts: Sequence[TokenText], *, packed: bool = True) -> tuple[bool, str]:
    """Whether texts share rows, and why, in words for the log.

    Args:
        model: The model; only its configuration is read.
        texts: All that will be packed.
        packed: What is wanted.
    """
    if not packed:
        return False, "each text in a row of its own, as asked for"
    reason = why_two_branches(model, longest=max(len(text.tokens) for text in texts))
    if not reason:
        return True, "short texts share rows, and do not see each other"
    said = f"each text in a row of its own: {reason}"
    _log.warning(said)
    return False, said


def _check(
    model: nn.Module, args: TrainingArguments, *, texts: Sequence[TokenText], heldout: Sequence[TokenText]
) -> None:
    if not texts:
        raise UsageError("there are no texts to train on", code="align.no-texts")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(
            "no parameter of the model asks for a gradient",
            code="align.nothing-to-train",
            hint="attach a LoRA adapter, or call model.requires_grad_(True)",
        )
    if args.eval_strategy != "no" and not heldout:
        raise UsageError(
            "the texts are to be evaluated while training (eval_strategy), but none are held out",
            code="align.no-heldout",
            hint="pass heldout=",
        )
    check_checkpointing(model, args)
