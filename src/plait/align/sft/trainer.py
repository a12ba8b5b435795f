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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from plait.align import ranks
from plait.align.resumable import OnStep, ResumableTrainer, digest
from plait.align.sft.evaluate import score_texts
from plait.align.sft.packing import PackedTexts, pack, token_losses
from plait.align.sft.texts import TokenText
from plait.align.shared_prefix import why_two_branches
from plait.core.seeds import Seeds
from plait.errors import ModelError

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

    kind: ClassVar[str] = "texts"
    scalar: ClassVar[str] = "tokens"
    scorer: ClassVar[str] = "plait.align.sft.evaluate.score_texts"

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
        self.packed, self.layout_reason = choose_packing(model, [*texts, *heldout], packed=packed)
        self._step_loss = torch.zeros(2, dtype=torch.float64)  # weighted loss, and learnt tokens, so far in this step
        super().__init__(
            model,
            args,
            items=texts,
            heldout=heldout,
            lengths=[len(text.tokens) for text in texts],
            group_by_length=True,
            seeds=seeds,
            on_step=on_step,
            callbacks=callbacks,
            optimizers=optimizers,
        )

    def collate(self, rows: list[int]) -> _MicroBatch:
        """Some texts in rows, shared or their own."""
        packed = pack([self.items[row] for row in rows], packed=self.packed)
        return _MicroBatch(rows, packed, torch.tensor([self.items[row].weight for row in rows])[packed.owners])

    def begin_step(self, parts: list[_MicroBatch], device: torch.device) -> list[_MicroBatch]:
        """Micro-batches that know how many tokens the whole step learns."""
        mine = torch.stack([part.weight.double().sum() for part in parts]).sum()
        total = float(ranks.gather(mine[None].to(device)).sum())
        self._step_loss.zero_()
        parts = [replace(p, texts=p.texts.to(device), weight=p.weight.to(device), total=total) for p in parts]
        return [*parts[:-1], replace(parts[-1], last=True)]

    def part_of_the_loss(self, model: nn.Module, part: _MicroBatch) -> Tensor:
        """The sum of the losses of its tokens over all tokens of the step."""
        losses = token_losses(model, part.texts)
        loss = (part.weight * losses).sum() / part.total
        self._take(part, losses.detach(), float(loss.detach()))
        return ranks.count() * loss

    def _take(self, batch: _MicroBatch, losses: Tensor, loss: float) -> None:
        """Add a part to the step's scalars; a loss that is not a number ends the run here."""
        if not math.isfinite(loss):
            owners = batch.texts.owners[~losses.isfinite()].unique().tolist()
            ids = [self.items[batch.rows[n]].id for n in owners][:_NAMED]
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

    def measure_heldout(self) -> dict[str, float]:
        """``loss`` (nats per learnt token) and ``perplexity``."""
        size = self.args.per_device_eval_batch_size
        scores = score_texts(self.network, self.heldout, packed=self.packed, batch_size=size)
        return {"loss": scores.per_token, "perplexity": scores.perplexity}

    def described(self) -> dict[str, Any]:
        """The texts, and how they are packed."""
        texts = digest([[t.id, t.tokens, t.learn, t.weight] for t in self.items])
        return {"set of texts": texts, "packing": self.packed}


def choose_packing(model: nn.Module, texts: Sequence[TokenText], *, packed: bool = True) -> tuple[bool, str]:
    """Whether texts share rows, and why, in words for the log.

    Args:
        model: The model; only its configuration is read.
        texts: All that will be packed.
        packed: What is wanted.
    """
    if not packed:
        return False, "each text in a row of its own, as asked for"
    reason = why_two_branches(model, longest=max((len(text.tokens) for text in texts), default=0))
    if not reason:
        return True, "short texts share rows, and do not see each other"
    said = f"each text in a row of its own: {reason}"
    _log.warning(said)
    return False, said
