"""TRL's `DPOTrainer` with an objective in place of its mean over pairs.

TRL computes log-probabilities, reference and metrics; of its loss only the part beyond the first ``loss_type`` is kept.
The objective sees the pairs of a whole step: where a step has several micro-batches and the objective is more than a
mean, their log-probabilities are computed once beforehand without gradients, and each micro-batch then contributes
``Σ ∂loss/∂log-probability · log-probability``, whose gradients add up to the exact one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.dpo_trainer import DPOTrainer

from plait.align.losses import PairBatch
from plait.align.trl.config import ObjectiveConfig
from plait.errors import ModelError, RunError, UsageError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from peft import PeftConfig, PeftModel
    from transformers import (
        BitsAndBytesConfig,
        DataCollator,
        EvalPrediction,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
    )

_PART = "objective_part"  # beside a micro-batch's tensors: what is known of its part in the step
_FILE = "objective.json"
_NOT_THE_MODELS = {"completion_mask", "ref_chosen_logps", "ref_rejected_logps", _PART}


@dataclass(frozen=True)
class _Part:
    """A micro-batch's part in its step; without derivatives the objective is evaluated when its turn comes."""

    share: float
    by_chosen: Tensor | None = None
    by_rejected: Tensor | None = None
    loss: float = 0.0


class ObjectiveDPOTrainer(DPOTrainer):
    """Trains on preference pairs by TRL's means, minimising any objective of this package.

    All arguments are TRL's, but for ``args``: one of this package's configurations. Beside TRL's metrics it logs
    ``objective/beta``, ``objective/kept``, ``objective/gap``, ``objective/effective_pairs`` and others. Checkpoints
    hold the objective's state. Evaluation counts all pairs at β0 and changes no state (unless ``compat="official"``).
    Nothing is sent to anyone.

    Raises:
        UsageError: ``args`` is not an `ObjectiveConfig`.
    """

    # The objective's loss is exact for the whole step; the host must not divide it by the number of micro-batches.
    loss_is_scaled_for_ga = True

    _name = "Objective DPO"

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        ref_model: PreTrainedModel | None = None,
        args: ObjectiveConfig | None = None,
        data_collator: DataCollator | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
    ) -> None:
        if not isinstance(args, ObjectiveConfig):
            raise UsageError(
                f"{type(self).__name__} needs its own configuration, not {type(args).__name__}",
                code="align.trl-config",
                hint="pass args=BetaDPOConfig(…), DrDPOConfig(…) or CDPOConfig(…)",
            )
        self.objective = args.objective()
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
            quantization_config=quantization_config,
            peft_config=peft_config,
        )
        # The first loss is the objective's; TRL goes on to add the others.
        self._objective_weight = self.loss_weights[0]
        self.loss_types, self.loss_weights = self.loss_types[1:], self.loss_weights[1:]

    # --- the step -------------------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """All micro-batches of one step, each with its part in the objective."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, items
        sizes = [len(batch["input_ids"]) // 2 for batch in batches]
        whole = self.objective.scope == "step"
        parts = [_Part(size / sum(sizes) if whole else 1 / len(sizes)) for size in sizes]
        if whole and len(batches) > 1 and not self.objective.separable:
            batches = [self._prepare_inputs(batch) for batch in batches]
            batches = [self._with_reference(batch) for batch in batches]
            parts = self._look_ahead([self._frozen_pairs(batch) for batch in batches])
        return [{**batch, _PART: part} for batch, part in zip(batches, parts, strict=True)], items

    def _compute_loss(self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        part = cast("_Part", inputs.get(_PART, _Part(1.0)))
        given = self._with_reference({name: value for name, value in inputs.items() if name != _PART})
        policy = _Recorder(model)
        with self._reference_given():
            found = super()._compute_loss(policy, given, return_outputs)
        others, outputs = found if return_outputs else (found, None)
        pairs = self._pairs(policy.log_probs, given)
        if self._policy.training:
            # TRL's other losses are means of each micro-batch, of which a step is the mean.
            loss = self._part_of_the_loss(pairs, part) + others / self.current_gradient_accumulation_steps
        else:
            loss = self._evaluation_loss(pairs) + others
        return (loss, outputs) if return_outputs else loss

    def _part_of_the_loss(self, pairs: PairBatch, part: _Part) -> Tensor:
        """A tensor whose value is this micro-batch's part of the step's loss, and whose gradient that of the whole."""
        if part.by_chosen is None or part.by_rejected is None:
            alone = self.objective.scope == "micro_batch" and not self.objective.keeps_statistics
            part = self._evaluated([pairs], over_processes=not alone, share=part.share)[0]
        by_chosen, by_rejected = cast("Tensor", part.by_chosen), cast("Tensor", part.by_rejected)
        surrogate = (by_chosen * pairs.policy_chosen + by_rejected * pairs.policy_rejected).sum()
        return self._objective_weight * (surrogate - surrogate.detach() + part.loss)

    def _evaluation_loss(self, pairs: PairBatch) -> Tensor:
        try:
            return self._objective_weight * self.objective.eval()(pairs).loss
        finally:
            self.objective.train()

    # --- the objective over micro-batches and processes -------------------------------------------------------------

    def _look_ahead(self, parts: Sequence[PairBatch]) -> list[_Part]:
        return self._evaluated(parts, over_processes=True, share=1.0)

    def _evaluated(self, parts: Sequence[PairBatch], *, over_processes: bool, share: float) -> list[_Part]:
        """The objective on these micro-batches as one batch.

        Derivatives are times the number of processes, since data parallelism takes the mean of their gradients.
        """
        processes = self.accelerator.num_processes if over_processes else 1
        mine = self.accelerator.process_index if processes > 1 else 0
        # Part by part and process after process: the order in which one process alone would meet the pairs.
        everything = [self._gathered(torch.stack(_columns(part)).detach(), processes) for part in parts]
        sizes = [len(part) for part in parts]
        process = torch.arange(processes, device=everything[0].device)
        group = torch.cat([process.repeat_interleave(n) for n in sizes])  # an official code divides by process
        together = PairBatch(*torch.cat(everything, dim=1), group=group)
        result, by_chosen, by_rejected = self.objective.coefficients(together)
        self._note(result.scalars)
        loss = share * float(result.loss)
        found: list[_Part] = []
        start = 0
        for n in sizes:
            whole = slice(start, start + processes * n)
            chosen, rejected = (side[whole].view(processes, n)[mine] for side in (by_chosen, by_rejected))
            found.append(_Part(share, share * processes * chosen, share * processes * rejected, loss * n / sum(sizes)))
            start = whole.stop
        return found

    def _gathered(self, columns: Tensor, processes: int) -> Tensor:
        """``[columns, pairs]`` of this process as ``[columns, processes × pairs]``."""
        if processes == 1:
            return columns
        found = cast("Tensor", self.accelerator.gather(columns[None].contiguous()))
        return found.transpose(0, 1).flatten(1)

    def _note(self, scalars: Mapping[str, float]) -> None:
        if not torch.isfinite(torch.tensor(scalars["loss"])):
            raise ModelError(
                f"the loss is {scalars['loss']} at step {self.state.global_step + 1}",
                code="align.loss-not-finite",
                hint="look at the pairs of this step, or lower the learning rate",
            )
        for name, value in scalars.items():
            if name not in ("loss", "accuracy"):  # TRL has names for these
                self._metrics["train"][f"objective/{name}"].append(value)

    @property
    def _policy(self) -> Any:
        return self.model

    # --- log-probabilities, by TRL ------------------------------------------------------------------------------------

    def _with_reference(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs with the reference's log-probabilities in the columns of TRL's own precomputed ones."""
        if "ref_chosen_logps" in inputs:
            return inputs
        chosen, rejected = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        return {**inputs, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}

    def _frozen_pairs(self, inputs: Mapping[str, Any]) -> PairBatch:
        """Pairs with log-probabilities computed without gradients, by the same forward pass as TRL's."""
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        asked = {name: value for name, value in inputs.items() if name not in _NOT_THE_MODELS}
        recompute = cast("dict[str, Any] | None", self.args.gradient_checkpointing_kwargs)
        checkpointing = disable_gradient_checkpointing(self._policy, recompute)
        with torch.no_grad(), checkpointing, self.accelerator.autocast():
            log_probs = self._policy(**asked, labels=labels, use_cache=False, fused_lm_head=True).log_probs
        return self._pairs(log_probs, inputs)

    def _pairs(self, log_probs: Tensor, inputs: Mapping[str, Any]) -> PairBatch:
        mask = inputs["completion_mask"][:, 1:]
        # Prompt-learning adapters put virtual tokens in front.
        sums = _summed(log_probs[:, -mask.shape[1] :], mask, ld_alpha=self.ld_alpha).float()
        reference = [inputs[name].to(sums) for name in ("ref_chosen_logps", "ref_rejected_logps")]
        return PairBatch(*sums.chunk(2), *reference, *mask.sum(1).to(sums).chunk(2))

    @contextmanager
    def _reference_given(self) -> Generator[None]:
        given, self.precompute_ref_logps = self.precompute_ref_logps, True
        try:
            yield
        finally:
            self.precompute_ref_logps = given

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            facts = {"settings": self.objective.settings(), "state": self.objective.state_dict()}
            (folder / _FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        file = Path(checkpoint) / _FILE
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"settings": None}
        if facts["settings"] != json.loads(json.dumps(self.objective.settings())):
            raise RunError(
                "the checkpoint was made with another objective",
                code="align.other-checkpoint",
                where=str(checkpoint),
                hint="start over, or continue with the settings it was made with",
            )
        self.objective.load_state_dict(facts["state"])

    def _send_telemetry(self) -> None:
        """TRL reports each trainer that is built to its makers; this one does not."""


class CDPOTrainer(ObjectiveDPOTrainer):
    """`ObjectiveDPOTrainer` under the name of conservative DPO; takes a `CDPOConfig`."""

    _tag_names = ["trl", "dpo", "cdpo"]  # noqa: RUF012
    _name = "cDPO"


class BetaDPOTrainer(ObjectiveDPOTrainer):
    """`ObjectiveDPOTrainer` under the name of β-DPO; takes a `BetaDPOConfig`.

    Source: Wu et al. 2024 (arXiv 2407.08639).
    """

    _tag_names = ["trl", "dpo", "beta-dpo"]  # noqa: RUF012
    _name = "β-DPO"
    _paper = {  # noqa: RUF012
        "title": "β-DPO: Direct Preference Optimization with Dynamic β",
        "id": "2407.08639",
    }


class DrDPOTrainer(ObjectiveDPOTrainer):
    """`ObjectiveDPOTrainer` under the name of Dr. DPO; takes a `DrDPOConfig`.

    Source: Wu et al. 2024 (arXiv 2407.07880).
    """

    _tag_names = ["trl", "dpo", "dr-dpo"]  # noqa: RUF012
    _name = "Dr. DPO"
    _paper = {  # noqa: RUF012
        "title": "Towards Robust Alignment of Language Models: Distributionally Robustifying Direct Preference "
        "Optimization",
        "id": "2407.07880",
    }


class _Recorder:
    """A model that keeps the log-probabilities of its first answer, which carry the gradient."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._log_probs: Tensor | None = None

    def __call__(self, **inputs: Any) -> Any:
        outputs = self._model(**inputs)
        if self._log_probs is None:
            self._log_probs = outputs.log_probs
        return outputs

    @property
    def log_probs(self) -> Tensor:
        assert self._log_probs is not None
        return self._log_probs


def _summed(log_probs: Tensor, mask: Tensor, *, ld_alpha: float | None) -> Tensor:
    """Log-probabilities of completions, ``[rows]``, from those of their tokens, ``[rows, tokens]``.

    With ``ld_alpha`` tokens beyond the length of the shorter completion count that much.

    Source: Liu et al. 2024, LD-DPO (arXiv 2409.06411).
    """
    if ld_alpha is None:
        return log_probs.sum(1)
    chosen, rejected = mask.sum(1).chunk(2)
    shared = torch.minimum(chosen, rejected).repeat(2)
    beyond = mask.cumsum(1) > shared[:, None]
    return (log_probs * torch.where(beyond, ld_alpha, 1.0)).sum(1)


def _columns(pairs: PairBatch) -> list[Tensor]:
    return [
        pairs.policy_chosen,
        pairs.policy_rejected,
        pairs.reference_chosen,
        pairs.reference_rejected,
        pairs.chosen_length,
        pairs.rejected_length,
    ]
