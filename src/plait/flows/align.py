"""Stage ``align.preference``: preference pairs in, a LoRA adapter out, and what it changed on pairs held out.

- {name: align, use: align.preference, pairs: ${pairs.pairs}, heldout: ${pairs.heldout}, steps: 36}

``plait align train`` is this stage without a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from plait.align.pairs import TokenLimits, TokenPair
from plait.align.presets import DPO, Preset
from plait.align.verdicts import Thresholds
from plait.core.io import write_table
from plait.core.seeds import Seeds
from plait.core.stage import InputPath, Stage, StageContext
from plait.flows.align_pairs import PairFile, prompt_of, read_records, tokenise_records
from plait.flows.align_report import Measured, describe
from plait.flows.training import Training

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores
    from plait.align.objectives import Objective
    from plait.align.samples import Samples
    from plait.align.shared_prefix import Layout
    from plait.flows.align_flips import Flips
    from plait.models import LanguageModel


class PairTask(Stage):
    """What is learnt: a base, so that these settings stand before those of `Training`."""

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``, as text or as messages; a boolean ``flipped`` marks labels
    known to be wrong, and is only measured."""
    objective: Preset = DPO()
    """What is minimised, by ``name``, with its settings."""
    limits: TokenLimits = TokenLimits()
    """How long prompts and completions may be, in tokens."""


class Preference(Training, PairTask):
    """Trains a LoRA adapter on preference pairs (DPO, β-DPO, Dr. DPO, …) and measures it on pairs held out.

    With ``lora: null`` all weights are trained, and the adapter's folder holds a whole model.

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
    use: ClassVar[str] = "align.preference"
    in_python: ClassVar[str] = "plait.align.train_pairs"
    kind: ClassVar[str] = "pairs"
    curves: ClassVar[tuple[str, ...]] = (  # where the objective has them
        *("loss", "gap", "accuracy", "beta"),
        *("beta_clamped", "kept", "effective_pairs", "grad_norm"),
    )

    batch_size: int = Field(default=4, ge=1)
    """Pairs per step."""
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

    def run(self, context: StageContext) -> None:
        """Tokenise, compute reference log-probabilities once, train from the last checkpoint, measure, describe."""
        self.checkable()
        if self.stream is not None:
            context.seeds = Seeds(context.seeds.seed).child(self.stream)
        lm = self.load()
        train, heldout = self.examples(
            self.pairs,
            read=read_records,
            prompt_of=prompt_of,
            tokenise=lambda records, path: tokenise_records(
                records,
                tokenizer=lm.tokenizer,
                limits=self.limits,
                quarantine=context.quarantine,
                name=path.name,
            ),
            context=context,
        )
        lm = self.trainable(lm, context.seeds)
        measured = self._train(lm, train, heldout, context)
        self._save(lm, context.output("adapter"))
        _write_scores(heldout.pairs, measured.before, measured.after, context.output("scores"))
        result = describe(measured, context.report, stage=self, seeds=context.seeds)
        context.output("result").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        context.report.facts |= {
            "pairs trained on": len(train),
            "pairs given": train.given,
            "steps": len(measured.curve),
            "completions cut": train.cut + heldout.cut,
            "pairs set aside": context.quarantine.total,
        }

    def _save(self, lm: LanguageModel, folder: Path) -> None:
        from plait.models import save_adapter

        if self.lora is not None:
            save_adapter(lm, folder)
            return
        lm.network.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)

    def _train(self, lm: LanguageModel, train: PairFile, heldout: PairFile, context: StageContext) -> Measured:
        """Scores of the held-out pairs before and after training, the scalars of each step, samples and flips."""
        from plait.align.evaluate import PairScores
        from plait.align.reference import ReferenceCache, reference_logprobs
        from plait.align.shared_prefix import choose_layout
        from plait.align.trainer import PairTrainer
        from plait.core.cache import cache_root

        everything = [*train.pairs, *heldout.pairs]
        layout, why = choose_layout(lm.model, longest=max(pair.longest_branch for pair in everything))
        context.report.facts["layout"] = why
        with self.precision(lm):  # else the gap would hold the rounding of bfloat16 before the first step
            logprobs = reference_logprobs(
                lm.model,
                everything,
                cache=ReferenceCache(cache_root() / "reference-logprobs.jsonl"),
                layout=layout,
                on_progress=lambda done, total: context.progress("reference pairs", done, total),
            )
        # A fresh adapter changes nothing: the reference's scores are those before training.
        before = PairScores.of(heldout.pairs, logprobs[len(train) :])

        objective = self.objective.build(seeds=context.seeds.child("objective"))
        trainer = PairTrainer(
            lm.model,
            self.arguments(lm, context, examples=len(train)),
            objective=objective,
            pairs=train.pairs,
            reference=logprobs[: len(train)],
            seeds=context.seeds.child("order"),
            layout=layout,
            on_step=self.on_step(context),
        )
        curve = trainer.run()
        after = self._score(lm, heldout, "held-out pairs", layout=layout, context=context)
        measured = Measured(before=before, after=after, curve=curve, heldout=heldout, trained_on=len(train))
        return replace(
            measured,
            samples=self._sample(lm, heldout, context) if self.sample else None,
            flips=self._flips(lm, objective, train, logprobs, layout=layout, context=context),
            set_aside=context.quarantine.counts,
        )

    def _score(
        self, lm: LanguageModel, file: PairFile, what: str, *, layout: Layout, context: StageContext
    ) -> PairScores:
        from plait.align.evaluate import score_pairs

        with self.precision(lm):
            return score_pairs(
                lm.model,
                file.pairs,
                layout=layout,
                on_progress=lambda done, total: context.progress(what, done, total),
            )

    def _sample(self, lm: LanguageModel, heldout: PairFile, context: StageContext) -> Samples:
        """Of the policy and of its reference; a model trained as a whole is loaded a second time for it."""
        from plait.align.samples import sample_both

        return sample_both(
            lm,
            [pair.prompt for pair in heldout.pairs[: self.sample]],
            max_new_tokens=self.sample_tokens,
            seeds=context.seeds.child("samples"),
            reference=self.load() if self.lora is None else None,
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
        from plait.align.evaluate import PairScores
        from plait.flows.align_flips import measure_flips

        if not any(record.get("flipped") for record in train.records):
            return None
        some = train.take(range(min(self.measure, len(train))))
        now = self._score(lm, some, "training pairs", layout=layout, context=context)
        flipped = [bool(record.get("flipped")) for record in some.records]
        return measure_flips(objective, now, PairScores.of(some.pairs, logprobs[: len(some)]), flipped)


def _write_scores(pairs: Sequence[TokenPair], before: PairScores, after: PairScores, path: Path) -> None:
    import pyarrow as pa

    columns: dict[str, Any] = {"id": [pair.id for pair in pairs]}
    for when, scores in (("before", before), ("after", after)):
        columns |= {f"chosen_{when}": scores.chosen, f"rejected_{when}": scores.rejected}
    columns |= {"chosen_tokens": before.chosen_length, "rejected_tokens": before.rejected_length}
    write_table(pa.table(columns), path)
