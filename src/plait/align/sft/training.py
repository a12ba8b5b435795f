"""From records to a fine-tuned model in one call.

from plait.align import training_arguments
from plait.align.sft.training import train_texts

records = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}, …]
tuned = train_texts("smollm2-135m", records, training_arguments("out", epochs=1), lora=LoRA())
tuned.save("model")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align.sft.texts import TextLimits, TokenisedTexts, tokenise_texts
from plait.core.optional import require
from plait.core.seeds import Seeds
from plait.errors import DataError

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from plait.align.resumable import OnStep
    from plait.align.sft.trainer import TextTrainer
    from plait.models import LanguageModel, LoRA


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model, and how it came about.

    Args:
        lm: The model, adapter included.
        texts: What became of the records: the texts trained on, and the records set aside with their reasons.
        trainer: To evaluate with, or to look into.
    """

    lm: LanguageModel
    texts: TokenisedTexts
    trainer: TextTrainer

    @property
    def curve(self) -> list[dict[str, float]]:
        """Loss, learnt tokens, … at each log."""
        return self.trainer.curve

    def merged(self) -> LanguageModel:
        """The model with any adapter merged into its weights, in place; nothing in it asks for gradients."""
        return merge_adapter(self.lm)

    def save(self, folder: Path | str) -> None:
        """Write the model, or its adapter, and the tokenizer as `transformers` and peft read them."""
        self.lm.model.save_pretrained(str(folder))
        self.lm.tokenizer.save_pretrained(str(folder))


def train_texts(
    model: str | LanguageModel,
    records: Iterable[Mapping[str, Any]],
    args: TrainingArguments,
    *,
    lora: LoRA | None = None,
    heldout: Iterable[Mapping[str, Any]] = (),
    limits: TextLimits | None = None,
    packed: bool = True,
    max_bad_fraction: float = 0.1,
    on_step: OnStep | None = None,
) -> Tuned:
    """Fine-tune a model on records, or go on from the last checkpoint in ``args.output_dir``.

    Args:
        model: A name that `plait.models.load` knows, or a loaded model. Without ``lora`` all weights of a model by name
            are trained, and of a loaded one those that ask for gradients.
        records: In TRL's formats (`plait.align.sft.formats`): dicts, or a `datasets.Dataset`.
        args: From `plait.align.training_arguments`, or any `transformers.TrainingArguments`.
        lora: A fresh adapter on the model; only it is trained.
        heldout: What is measured on, at ``args.eval_strategy``.
        limits: How long a text may be, and what of it is learnt.
        packed: Let short texts share a row.
        max_bad_fraction: Stop if more than this share of the records cannot be used.
        on_step: Called with the step, the number of steps and the scalars at each log.

    Raises:
        DataError: The records are in none of the formats, or too many cannot be used.
        UsageError: The arguments ask for something this trainer cannot do.
        ModelError: The loss is not a number.
        RunError: The checkpoint in the folder belongs to another run.
    """
    for package in ("torch", "transformers", "accelerate"):
        require(package, extra="align", feature="train_texts")
    from plait.align.sft.trainer import TextTrainer

    seeds = Seeds(args.seed)
    lm = _ready(model, lora, device=str(args.device), seeds=seeds)
    train = _tokenise(list(records), lm, limits, max_bad_fraction=max_bad_fraction)
    measured = _tokenise(list(heldout), lm, limits, max_bad_fraction=max_bad_fraction)
    trainer = TextTrainer(
        lm.model,
        args,
        texts=train.texts,
        heldout=measured.texts,
        packed=packed,
        seeds=seeds.child("order"),
        on_step=on_step,
    )
    trainer.run()
    return Tuned(lm, train, trainer)


def merge_adapter(lm: LanguageModel) -> LanguageModel:
    """A model whose adapter has become part of its weights, in place; one without an adapter stays as it is."""
    model: Any = lm.model
    if hasattr(model, "peft_config"):
        model = model.merge_and_unload()
    model.eval().requires_grad_(False)
    return replace(lm, model=model)


def _ready(model: str | LanguageModel, lora: LoRA | None, *, device: str, seeds: Seeds) -> LanguageModel:
    from plait.models import attach_lora, load

    lm = load(model, device=device) if isinstance(model, str) else model
    if lora is not None:
        return attach_lora(lm, lora, seed=seeds.child("lora").integer())
    if isinstance(model, str):
        lm.model.requires_grad_(True)
    return lm


def _tokenise(
    records: list[Mapping[str, Any]], lm: LanguageModel, limits: TextLimits | None, *, max_bad_fraction: float
) -> TokenisedTexts:
    found = tokenise_texts(records, tokenizer=lm.tokenizer, limits=limits)
    if len(found.problems) > max_bad_fraction * len(records):
        reasons = ", ".join(f"{n} × {reason}" for reason, n in found.reasons.items())
        raise DataError(
            f"{len(found.problems)} of {len(records)} records are bad ({reasons}), more than "
            f"max_bad_fraction = {max_bad_fraction:g}",
            code="data.too-many-bad",
            where=f"record {found.problems[0].id}",
            hint="mend the records, or raise max_bad_fraction",
        )
    return found
