"""What the stages that train a model share: how it is trained, and all that happens around the trainer.

A subclass says what it learns from, how records become tokens, which trainer learns them, and what is told of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar

from pydantic import Field, model_validator

from plait.core.optional import check_installed
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import UsageError
from plait.flows.training_records import hold_out
from plait.models.adapters import LoRA

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from plait.align.resumable import OnStep
    from plait.models import LanguageModel

Records = list[dict[str, Any]]


class Examples(Protocol):
    """Records of a file as tokens."""

    def __len__(self) -> int:
        """How many a model can learn from."""
        ...

    def take(self, rows: Iterable[int], /) -> Self:
        """Some of them, in the order asked for."""
        ...


E = TypeVar("E", bound=Examples)


class Training(Stage):
    """Settings of a stage that trains a model, or an adapter on it, and measures it on records held out."""

    use: ClassVar[str]
    """What recipes call the stage."""
    in_python: ClassVar[str]
    """The function that trains the same, also in several processes."""
    kind: ClassVar[str]
    """What the records are, for messages."""
    curves: ClassVar[tuple[str, ...]]
    """Scalars of each step that are recorded as metrics, where the objective has them."""

    heldout: InputPath | None = None
    """Records of the same kind that are only measured on; part of those to train on if absent."""
    heldout_share: float = Field(default=0.1, gt=0, lt=1)
    """The part held out where there is no file of its own; all records of a prompt go to one side."""
    model: str = "smollm2-135m"
    """The model that is trained; see ``plait models ls``."""
    model_folder: InputPath | None = None
    """A model in a folder, such as ``${sft.model}``, in place of ``model``."""
    lora: LoRA | None = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    """Rank, scale and places of the adapter; null trains all weights."""
    steps: int = Field(default=36, ge=1)
    """Optimiser steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the records, in place of ``steps``."""
    batch_size: int = Field(default=8, ge=1)
    """Records per step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Records per forward pass, a divisor of ``batch_size``: less memory, same result."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps until the peak."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes on from its peak."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients are scaled down to this norm; 0 leaves them."""
    bf16: bool = False
    """Run the model in bfloat16 under autocast; weights and log-probabilities stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, same gradients."""
    measure: int = Field(default=64, ge=1)
    """At most so many held-out records are measured, the first of the file."""
    checkpoint_every: int = Field(default=6, ge=1)
    """Steps between checkpoints: what a kill can cost."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the records cannot be used."""
    device: str = "cpu"
    """Where to train: ``cpu``, ``cuda``, or ``auto``."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError("give steps or epochs, not both")
        return self

    @property
    def model_name(self) -> str:
        """The name or folder of the model that is trained."""
        return str(self.model_folder or self.model)

    def checkable(self) -> None:
        """Raises MissingExtra without torch, transformers and peft, and UsageError in one of several processes."""
        for package in ("torch", "transformers", "peft", "accelerate"):
            check_installed(package, extra="align", feature=self.use)
        if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise UsageError(
                f"{self.use} writes its folder from one process, and WORLD_SIZE says there are {processes}",
                code="align.several-processes",
                hint=f"start it without torchrun, or call {self.in_python} from a script under torchrun",
            )

    def fingerprint(self) -> Mapping[str, str]:
        """The model by name, or by content where the name is a path."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint() if Path(self.model).exists() else self.model}

    # --- what `run` of a subclass is made of, in the order of its use -------------------------------------------------

    def load(self) -> LanguageModel:
        """The model as it is before training."""
        from plait.models import load

        return load(self.model_name, device=self.device)

    def examples(
        self,
        path: Path,
        *,
        read: Callable[[Path, Quarantine], Records],
        prompt_of: Callable[[Mapping[str, Any]], str],
        tokenise: Callable[[Records, Path], E],
        context: StageContext,
    ) -> tuple[E, E]:
        """As many records to train on as the steps can use, drawn at random, and the first of those held out.

        Raises:
            DataError: Too many records cannot be used.
            UsageError: Nothing can be held out, as all records have one prompt.
        """
        records = read(path, context.quarantine)
        if self.heldout is None:
            records, held = hold_out(
                records,
                share=self.heldout_share,
                prompt_of=prompt_of,
                seeds=context.seeds,
                kind=self.kind,
                where=str(path),
            )
        else:
            held = read(self.heldout, context.quarantine)
        given = len(records) + len(held) + context.quarantine.total
        train, heldout = tokenise(records, path), tokenise(held, self.heldout or path)
        context.quarantine.check(given, max_bad_fraction=self.max_bad_fraction, where=str(path))
        if self.epochs is None and len(train) > self.steps * self.batch_size:
            shuffled = context.seeds.child("subset").numpy().permutation(len(train))
            train = train.take(sorted(int(i) for i in shuffled[: self.steps * self.batch_size]))
        return train, heldout.take(range(min(self.measure, len(heldout))))

    def trainable(self, lm: LanguageModel, seeds: Seeds) -> LanguageModel:
        """The model with a fresh adapter, or asking for gradients as a whole."""
        from plait.models import attach_lora

        if self.lora is None:
            lm.model.requires_grad_(True)
            return lm
        return attach_lora(lm, self.lora, seed=seeds.child("lora").integer())

    def precision(self, lm: LanguageModel) -> AbstractContextManager[Any]:
        """That of training, for scores that are compared with it."""
        import torch

        return torch.autocast(lm.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def arguments(self, lm: LanguageModel, context: StageContext, *, examples: int) -> TrainingArguments:
        """The trainer's arguments for so many examples."""
        from plait.align.arguments import training_arguments

        by_epochs = math.ceil((self.epochs or 0) * examples / self.batch_size)
        return training_arguments(
            context.scratch / "checkpoints",
            steps=self.steps if self.epochs is None else max(1, by_epochs),
            batch_size=self.batch_size,
            micro_batch_size=self.micro_batch_size,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            schedule=self.schedule,
            max_grad_norm=self.max_grad_norm,
            bf16=self.bf16,
            gradient_checkpointing=self.gradient_checkpointing,
            checkpoint_every=self.checkpoint_every,
            seed=context.seeds.child("trainer").integer(bits=31),
            use_cpu=lm.device.type == "cpu",
        )

    def on_step(self, context: StageContext) -> OnStep:
        """Tells each step as progress and metrics."""

        def tell(step: int, steps: int, scalars: Mapping[str, float]) -> None:
            context.progress("steps", step, steps, loss=round(scalars["loss"], 4))
            for name in self.curves:
                if name in scalars:
                    context.metric(name, scalars[name], step=step)

        return tell
