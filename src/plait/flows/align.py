"""Stage ``align.preference``: preference pairs in, a LoRA adapter out, and what it changed on pairs held out.

- {name: align, use: align.preference, pairs: ${pairs.pairs}, heldout: ${pairs.heldout}, steps: 36}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from plait.align.pairs import TokenLimits, TokenPair, tokenise_pairs
from plait.align.presets import DPO, Preset
from plait.align.weighting import BetaRule
from plait.core.io import read_table, write_table
from plait.core.optional import check_installed
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.flows.align_report import Measured, describe
from plait.models.adapters import LoRA

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores
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

    outputs: ClassVar[Mapping[str, str]] = {"adapter": "adapter", "scores": "scores.parquet"}

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``, as text or as messages."""
    heldout: InputPath
    """Pairs of the same kind that are only measured on."""
    model: str = "smollm2-135m"
    """The model that is adapted; see ``plait models ls``."""
    objective: Preset = DPO()
    """What is minimised, by ``name``, with its settings."""
    lora: LoRA = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    """Rank, scale and places of the adapter."""
    steps: int = Field(default=36, ge=1)
    """Optimiser steps."""
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
    limits: TokenLimits = TokenLimits()
    """How long prompts and completions may be, in tokens."""
    measure: int = Field(default=32, ge=1)
    """At most so many held-out pairs are measured, the first of the file."""
    checkpoint_every: int = Field(default=6, ge=1)
    """Steps between checkpoints: what a kill can cost."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the pairs cannot be used."""
    device: str = "cpu"
    """Where to train: ``cpu``, ``cuda``, or ``auto``."""

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
        from plait.models import attach_lora, load, save_adapter

        lm = load(self.model, device=self.device)
        train, heldout = self._read(lm, context)
        lm = attach_lora(lm, self.lora, seed=context.seeds.child("lora").integer())
        before, after, curve = self._train(lm, train.pairs, heldout.pairs, context)
        save_adapter(lm, context.output("adapter"))
        _write_scores(heldout.pairs, before, after, context.output("scores"))
        measured = Measured(before=before, after=after, curve=curve, records=heldout.records, pairs=heldout.pairs)
        describe(measured, context.report, beta=self._beta(), seeds=context.seeds)
        context.report.facts |= {
            "pairs trained on": len(train.pairs),
            "pairs given": train.given,
            "steps": self.steps,
            "completions cut": train.cut + heldout.cut,
            "pairs set aside": context.quarantine.total,
        }

    def _read(self, lm: LanguageModel, context: StageContext) -> tuple[_Pairs, _Pairs]:
        """As many training pairs as the steps can use, drawn at random, and the first held-out pairs."""
        train = self._tokenise(self.pairs, lm, context)
        heldout = self._tokenise(self.heldout, lm, context)
        context.quarantine.check(
            train.given + heldout.given, max_bad_fraction=self.max_bad_fraction, where=str(self.pairs)
        )
        for name, found in (("pairs", train), ("heldout", heldout)):
            if not found.pairs:
                raise DataError(
                    f"none of the {found.given} records is a usable pair",
                    code="align.no-pairs",
                    where=str(getattr(self, name)),
                    hint=f"see {context.quarantine.path.name} for the reasons",
                )
        if len(train.pairs) > self.steps * self.batch_size:
            shuffled = context.seeds.child("subset").numpy().permutation(len(train.pairs))
            train = train.take(sorted(int(i) for i in shuffled[: self.steps * self.batch_size]))
        return train, heldout.take(range(min(self.measure, len(heldout.pairs))))

    def _tokenise(self, path: Path, lm: LanguageModel, context: StageContext) -> _Pairs:
        set_aside = context.quarantine.total
        table = read_table(path, quarantine=context.quarantine)
        for column in ("prompt", "chosen", "rejected"):
            if column not in table.column_names:
                raise DataError(
                    f'there is no field "{column}"; fields: {", ".join(table.column_names)}',
                    code="data.missing-field",
                    where=str(path),
                    hint="preference pairs have prompt, chosen and rejected",
                )
        records: list[dict[str, Any]] = [
            {"id": str(n), **{k: v for k, v in record.items() if k != "id" or v is not None}}
            for n, record in enumerate(table.to_pylist())
        ]
        result = tokenise_pairs(records, tokenizer=lm.tokenizer, limits=self.limits)
        by_id = {str(record["id"]): record for record in records}
        for problem in result.problems:
            context.quarantine.add(where=f"{path.name}:{problem.id}", reason=problem.reason, record=by_id[problem.id])
        given = len(result.pairs) + context.quarantine.total - set_aside
        return _Pairs(result.pairs, [by_id[p.id] for p in result.pairs], given, result.completions_cut)

    def _train(
        self, lm: LanguageModel, train: Sequence[TokenPair], heldout: Sequence[TokenPair], context: StageContext
    ) -> tuple[PairScores, PairScores, list[dict[str, float]]]:
        """Scores of the held-out pairs before and after training, and the scalars of each step."""
        from plait.align.evaluate import PairScores, score_pairs
        from plait.align.reference import ReferenceCache, reference_logprobs
        from plait.align.shared_prefix import choose_layout
        from plait.align.trainer import PairTrainer, training_arguments
        from plait.core.cache import cache_root

        everything = [*train, *heldout]
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
        before = PairScores.of(heldout, logprobs[len(train) :])

        def on_step(step: int, steps: int, scalars: Mapping[str, float]) -> None:
            context.progress("steps", step, steps, loss=round(scalars["loss"], 4))
            for name in ("loss", "gap", "accuracy", "beta", "grad_norm"):
                context.metric(name, scalars[name], step=step)

        trainer = PairTrainer(
            lm.model,
            training_arguments(
                context.scratch / "checkpoints",
                steps=self.steps,
                batch_size=self.batch_size,
                micro_batch_size=self.micro_batch_size,
                learning_rate=self.learning_rate,
                warmup_steps=self.warmup_steps,
                schedule=self.schedule,
                checkpoint_every=self.checkpoint_every,
                seed=context.seeds.child("trainer").integer(bits=31),
                use_cpu=lm.device.type == "cpu",
            ),
            objective=self.objective.build(seeds=context.seeds.child("objective")),
            pairs=train,
            reference=logprobs[: len(train)],
            seeds=context.seeds.child("order"),
            layout=layout,
            on_step=on_step,
        )
        curve = trainer.run()
        after = score_pairs(
            lm.model,
            heldout,
            layout=layout,
            on_progress=lambda done, total: context.progress("held-out pairs", done, total),
        )
        return before, after, curve

    def _beta(self) -> float:
        beta = self.objective.beta
        return beta.value if isinstance(beta, BetaRule) else float(beta)


@dataclass(frozen=True)
class _Pairs:
    """Usable pairs with their records, how many were given, and how many of their completions were cut."""

    pairs: list[TokenPair]
    records: list[dict[str, Any]]
    given: int
    cut: int

    def take(self, rows: Sequence[int]) -> _Pairs:
        return _Pairs([self.pairs[i] for i in rows], [self.records[i] for i in rows], self.given, self.cut)


def _write_scores(pairs: Sequence[TokenPair], before: PairScores, after: PairScores, path: Path) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {"id": [pair.id for pair in pairs]}
    for when, scores in (("before", before), ("after", after)):
        columns |= {f"chosen_{when}": scores.chosen, f"rejected_{when}": scores.rejected}
    columns |= {"chosen_tokens": before.chosen_length, "rejected_tokens": before.rejected_length}
    write_table(pa.table(columns), path)
