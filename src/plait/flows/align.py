"""Stage ``align.preference``: preference pairs in, a LoRA adapter out, and what it changed on pairs held out.

- {name: align, use: align.preference, pairs: ${pairs.pairs}, heldout: ${pairs.heldout}, steps: 36}

``plait align train`` is this stage without a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plait.align.pairs import TokenLimits, TokenPair
from plait.align.presets import DPO, Preset
from plait.align.verdicts import Thresholds
from plait.core.io import write_table
from plait.core.optional import check_installed
from plait.core.seeds import Seeds
from plait.core.stage import InputPath, Stage, StageContext
from plait.flows.align_pairs import PairFile, read_records, split_by_prompt, tokenise_records
from plait.flows.align_report import Measured, describe
from plait.models.adapters import LoRA

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores
    from plait.align.objectives import Objective
    from plait.align.samples import Samples
    from plait.align.shared_prefix import Layout
    from plait.flows.align_flips import Flips
    from plait.models import LanguageModel


class Preference(Stage):
    """Trains a LoRA adapter on preference pairs (DPO, β-DPO, Dr. DPO, …) and measures it on pairs held out.

    Example:
        - name: align
          use: align.preference
          pairs: ${pairs.pairs}
          heldout: ${pairs.heldout}
          objective: {name: dr_dpo, beta_prime: 1.0}
    """

    outputs: ClassVar[Mapping[str, str]] = {
        "adapter": "adapter",
        "scores": "scores.parquet",
        "result": "result.json",
    }

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``, as text or as messages; a boolean ``flipped`` marks labels
    known to be wrong, and is only measured."""
    heldout: InputPath | None = None
    """Pairs of the same kind that are only measured on; part of ``pairs`` if absent."""
    heldout_share: float = Field(default=0.1, gt=0, lt=1)
    """The part held out where there is no file of its own; all pairs of a prompt go to one side."""
    model: str = "smollm2-135m"
    """The model that is adapted; see ``plait models ls``."""
    model_folder: InputPath | None = None
    """A model in a folder, such as ``${sft.model}``, in place of ``model``."""
    objective: Preset = DPO()
    """What is minimised, by ``name``, with its settings."""
    lora: LoRA | None = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    """Rank, scale and places of the adapter; null trains all weights, and the adapter's folder holds a whole model."""
    steps: int = Field(default=36, ge=1)
    """Optimiser steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the pairs, in place of ``steps``."""
    batch_size: int = Field(default=4, ge=1)
    """Pairs per step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Pairs per forward pass, a divisor of ``batch_size``: less memory, same result."""
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
    limits: TokenLimits = TokenLimits()
    """How long prompts and completions may be, in tokens."""
    measure: int = Field(default=32, ge=1)
    """At most so many held-out pairs are measured, the first of the file; and so many training pairs where flips are
    known."""
    sample: int = Field(default=0, ge=0)
    """So many held-out prompts are continued by the policy and by its reference, for KL and drift of length."""
    sample_tokens: int = Field(default=48, ge=1)
    """Longest such sample, in tokens."""
    thresholds: Thresholds = Thresholds()
    """Where verdicts turn."""
    stream: str | None = None
    """Runs with one stream, and one seed, draw the same pairs, order and start of the adapter, whatever their stages
    are called: for comparisons. By default the stage's name."""
    checkpoint_every: int = Field(default=6, ge=1)
    """Steps between checkpoints: what a kill can cost."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the pairs cannot be used."""
    device: str = "cpu"
    """Where to train: ``cpu``, ``cuda``, or ``auto``."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError("give steps or epochs, not both")
        return self

    @property
    def model_name(self) -> str:
        """The name or folder of the model that is adapted."""
        return str(self.model_folder or self.model)

    def checkable(self) -> None:
        """Raises MissingExtra without torch, transformers and peft."""
        for package in ("torch", "transformers", "peft", "accelerate"):
            check_installed(package, extra="align", feature="align.preference")

    def fingerprint(self) -> Mapping[str, str]:
        """The model by name, or by content where the name is a path."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint() if Path(self.model).exists() else self.model}

    def run(self, context: StageContext) -> None:
        """Tokenise, compute reference log-probabilities once, train from the last checkpoint, measure, describe."""
        self.checkable()
        if self.stream is not None:
            context.seeds = Seeds(context.seeds.seed).child(self.stream)
        from plait.models import load

        lm = load(self.model_name, device=self.device)
        train, heldout = self._read(lm, context)
        lm = self._trainable(lm, context)
        measured = self._train(lm, train, heldout, context)
        self._save(lm, context.output("adapter"))
        _write_scores(heldout.pairs, measured.before, measured.after, context.output("scores"))
        result = describe(measured, context.report, stage=self, seeds=context.seeds)
        context.output("result").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        context.report.facts |= {
            "pairs trained on": len(train.pairs),
            "pairs given": train.given,
            "steps": len(measured.curve),
            "completions cut": train.cut + heldout.cut,
            "pairs set aside": context.quarantine.total,
        }

    def _read(self, lm: LanguageModel, context: StageContext) -> tuple[PairFile, PairFile]:
        """As many training pairs as the steps can use, drawn at random, and the first held-out pairs."""
        records = read_records(self.pairs, context.quarantine)
        if self.heldout is None:
            records, held = split_by_prompt(records, share=self.heldout_share, seeds=context.seeds)
        else:
            held = read_records(self.heldout, context.quarantine)
        train, heldout = (
            tokenise_records(
                part, tokenizer=lm.tokenizer, limits=self.limits, quarantine=context.quarantine, name=path.name
            )
            for part, path in ((records, self.pairs), (held, self.heldout or self.pairs))
        )
        context.quarantine.check(
            train.given + heldout.given, max_bad_fraction=self.max_bad_fraction, where=str(self.pairs)
        )
        if self.epochs is None and len(train.pairs) > self.steps * self.batch_size:
            shuffled = context.seeds.child("subset").numpy().permutation(len(train.pairs))
            train = train.take(sorted(int(i) for i in shuffled[: self.steps * self.batch_size]))
        return train, heldout.take(range(min(self.measure, len(heldout.pairs))))

    def _steps(self, pairs: int) -> int:
        """Optimiser steps: as asked for, or as many as the epochs need."""
        return self.steps if self.epochs is None else max(1, math.ceil(self.epochs * pairs / self.batch_size))

    def _trainable(self, lm: LanguageModel, context: StageContext) -> LanguageModel:
        from plait.models import attach_lora

        if self.lora is None:
            lm.model.requires_grad_(True)
            return lm
        return attach_lora(lm, self.lora, seed=context.seeds.child("lora").integer())

    def _save(self, lm: LanguageModel, folder: Path) -> None:
        from plait.models import save_adapter

        if self.lora is not None:
            save_adapter(lm, folder)
            return
        lm.network.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)

    def _train(self, lm: LanguageModel, train: PairFile, heldout: PairFile, context: StageContext) -> Measured:
        """Scores of the held-out pairs before and after training, the scalars of each step, samples and flips."""
        from plait.align.evaluate import PairScores, score_pairs
        from plait.align.reference import ReferenceCache, reference_logprobs
        from plait.align.shared_prefix import choose_layout
        from plait.align.trainer import PairTrainer, training_arguments
        from plait.core.cache import cache_root

        everything = [*train.pairs, *heldout.pairs]
        layout, why = choose_layout(lm.model, longest=max(pair.longest_branch for pair in everything))
        context.report.facts["layout"] = why
        logprobs = reference_logprobs(
            lm.model,
            everything,
            cache=ReferenceCache(cache_root() / "reference-logprobs.jsonl"),
            layout=layout,
            on_progress=lambda done, total: context.progress("reference pairs", done, total),
        )
        # A fresh adapter changes nothing: the reference's scores are those before training.
        before = PairScores.of(heldout.pairs, logprobs[len(train.pairs) :])

        def on_step(step: int, steps: int, scalars: Mapping[str, float]) -> None:
            context.progress("steps", step, steps, loss=round(scalars["loss"], 4))
            for name in ("loss", "gap", "accuracy", "beta", "beta_clamped", "kept", "effective_pairs", "grad_norm"):
                if name in scalars:
                    context.metric(name, scalars[name], step=step)

        objective = self.objective.build(seeds=context.seeds.child("objective"))
        trainer = PairTrainer(
            lm.model,
            training_arguments(
                context.scratch / "checkpoints",
                steps=self._steps(len(train.pairs)),
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
            ),
            objective=objective,
            pairs=train.pairs,
            reference=logprobs[: len(train.pairs)],
            seeds=context.seeds.child("order"),
            layout=layout,
            on_step=on_step,
        )
        curve = trainer.run()
        after = score_pairs(
            lm.model,
            heldout.pairs,
            layout=layout,
            on_progress=lambda done, total: context.progress("held-out pairs", done, total),
        )
        measured = Measured(before=before, after=after, curve=curve, heldout=heldout, trained_on=len(train.pairs))
        return replace(
            measured,
            samples=self._sample(lm, heldout, context) if self.sample else None,
            flips=self._flips(lm, objective, train, logprobs, layout=layout, context=context),
            set_aside=context.quarantine.counts,
        )

    def _sample(self, lm: LanguageModel, heldout: PairFile, context: StageContext) -> Samples:
        """Of the policy and of its reference; a model trained as a whole is loaded a second time for it."""
        from plait.align.samples import sample_both
        from plait.models import load

        return sample_both(
            lm,
            [pair.prompt for pair in heldout.pairs[: self.sample]],
            max_new_tokens=self.sample_tokens,
            seeds=context.seeds.child("samples"),
            reference=load(self.model_name, device=self.device) if self.lora is None else None,
            on_progress=lambda done, total: context.progress("samples", done, total),
        )

    def _flips(
        self,
        lm: LanguageModel,
        objective: Objective,
        train: PairFile,
        logprobs: Sequence[tuple[float, float]],
        *,
        layout: Layout,
        context: StageContext,
    ) -> Flips | None:
        """What became of training pairs marked as flipped, if there are any: of some of all, the first."""
        from plait.align.evaluate import PairScores, score_pairs
        from plait.flows.align_flips import measure_flips

        if not any(record.get("flipped") for record in train.records):
            return None
        some = train.take(range(min(self.measure, len(train.pairs))))
        now = score_pairs(
            lm.model,
            some.pairs,
            layout=layout,
            on_progress=lambda done, total: context.progress("training pairs", done, total),
        )
        flipped = [bool(record.get("flipped")) for record in some.records]
        return measure_flips(objective, now, PairScores.of(some.pairs, logprobs[: len(some.pairs)]), flipped)


def _write_scores(pairs: Sequence[TokenPair], before: PairScores, after: PairScores, path: Path) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {"id": [pair.id for pair in pairs]}
    for when, scores in (("before", before), ("after", after)):
        columns |= {f"chosen_{when}": scores.chosen, f"rejected_{when}": scores.rejected}
    columns |= {"chosen_tokens": before.chosen_length, "rejected_tokens": before.rejected_length}
    write_table(pa.table(columns), path)
