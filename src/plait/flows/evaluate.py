"""Stage ``align.evaluate``: what training changed, on held-out pairs and in what the model writes.

- {name: evaluate, use: align.evaluate, pairs: ${split.heldout}, adapter: ${align.adapter}, sample: 32}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plait.align.evaluate import accuracy, bootstrap, score_pairs
from plait.align.pairs import TokenLimits
from plait.align.verdicts import RunFacts, Thresholds, judge
from plait.align.winrate import AnyScorer, WinRate, win_rate
from plait.core.component import Component
from plait.core.figures import Example, Table
from plait.core.io import write_table
from plait.core.optional import check_installed
from plait.core.stage import InputPath, Stage, StageContext
from plait.flows.align_pairs import PairFile, read_records, tokenise_records
from plait.flows.align_report import before_and_after, sample_table, told, verdict_table
from plait.flows.align_result import Estimate, Measure, SampleFacts, VerdictFacts

if TYPE_CHECKING:
    from plait.align.evaluate import PairScores
    from plait.align.samples import Samples
    from plait.models import LanguageModel


class WinRateFacts(Component):
    """A win rate of the policy over its reference."""

    scorer: Literal["function", "reward_model", "judge"]
    """Who decided."""
    rate: Estimate
    """Share of prompts won, a tie is half."""
    wins: int
    """Comparisons won."""
    ties: int
    """Comparisons tied."""
    losses: int
    """Comparisons lost."""
    swayed: int
    """Comparisons in which a judge followed the order of the answers; they are ties."""
    unreadable: int
    """Comparisons without a readable answer, left out."""


class EvaluationResult(Component):
    """A finished evaluation."""

    model: str
    """What was evaluated."""
    pairs: int
    """Held-out pairs measured."""
    measures: tuple[Measure, ...]
    """Of the held-out pairs, under the reference and under the policy."""
    samples: SampleFacts | None
    """Of the policy's own samples, where they were asked for."""
    win_rate: WinRateFacts | None
    """Over the reference's samples, where a scorer was named."""
    verdicts: tuple[VerdictFacts, ...]
    """The worst first."""


class Evaluate(Stage):
    """Measures a policy against its reference: accuracy, margins, KL on samples, drift of length, win rate.

    Example:
        - name: evaluate
          use: align.evaluate
          pairs: ${split.heldout}
          adapter: ${align.adapter}
          scorer: {name: function, path: "plait.align.winrate:shorter"}
    """

    outputs: ClassVar[Mapping[str, str]] = {
        "scores": "scores.parquet",
        "samples": "samples.jsonl",
        "result": "result.json",
    }

    pairs: InputPath
    """Held-out records with ``prompt``, ``chosen`` and ``rejected``."""
    adapter: InputPath | None = None
    """The adapter: its base model without it is the reference."""
    model: str = "smollm2-135m"
    """The base model, or without an adapter the policy itself; see ``plait models ls``."""
    model_folder: InputPath | None = None
    """A model in a folder, such as ``${sft.model}``, in place of ``model``."""
    reference: str | None = None
    """The reference model of a policy that is a whole model; give this or ``adapter``."""
    measure: int = Field(default=128, ge=1)
    """At most so many pairs are measured, the first of the file."""
    sample: int = Field(default=32, ge=0)
    """So many of their prompts are continued by both models; 0 for none, and then there is no win rate."""
    sample_tokens: int = Field(default=64, ge=1)
    """Longest sample, in tokens."""
    scorer: AnyScorer | None = None
    """Who compares the two samples of a prompt, by ``name``."""
    limits: TokenLimits = TokenLimits()
    """How long prompts and completions may be, in tokens."""
    thresholds: Thresholds = Thresholds()
    """Where verdicts turn."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the pairs cannot be used."""
    device: str = "cpu"
    """Where to work: ``cpu``, ``cuda``, or ``auto``."""

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if (self.adapter is None) == (self.reference is None):
            raise ValueError("give an adapter, or a reference model, and not both")
        return self

    def checkable(self) -> None:
        """Raises MissingExtra without torch, transformers and peft."""
        for package in ("torch", "transformers", "peft"):
            check_installed(package, extra="align", feature="align.evaluate")

    def fingerprint(self) -> Mapping[str, str]:
        """The models by name, or by content where a name is a path."""
        from plait.models import resolve

        named = {"model": self.model} | ({"reference": self.reference} if self.reference else {})
        return {key: resolve(name).fingerprint() if Path(name).exists() else name for key, name in named.items()}

    def run(self, context: StageContext) -> None:
        """Score the pairs under both models, sample from both, compare, judge."""
        self.checkable()
        from plait.models import load, load_adapter

        lm = load(str(self.model_folder or self.model), device=self.device)
        reference = load(self.reference, device=self.device) if self.reference else None
        if self.adapter is not None:
            lm = load_adapter(lm, self.adapter)
        file = self._read(lm, context)
        before, after = self._score(lm, reference, file, context)
        samples = self._sample(lm, reference, file, context) if self.sample else None
        _write_scores(file, before, after, context.output("scores"))
        won = self._win_rate(lm, file, samples, context)
        _write_samples(lm, file, samples, context)
        result = self._result(before, after, samples, won, context)
        context.output("result").write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _describe(result, context)

    def _read(self, lm: LanguageModel, context: StageContext) -> PairFile:
        records = read_records(self.pairs, context.quarantine)
        file = tokenise_records(
            records, tokenizer=lm.tokenizer, limits=self.limits, quarantine=context.quarantine, name=self.pairs.name
        )
        context.quarantine.check(file.given, max_bad_fraction=self.max_bad_fraction, where=str(self.pairs))
        return file.take(range(min(self.measure, len(file.pairs))))

    def _score(
        self, lm: LanguageModel, reference: LanguageModel | None, file: PairFile, context: StageContext
    ) -> tuple[PairScores, PairScores]:
        from plait.align.shared_prefix import choose_layout
        from plait.models import without_adapter

        layout, _ = choose_layout(lm.model, longest=max(pair.longest_branch for pair in file.pairs))

        def score(what: str, one: LanguageModel) -> PairScores:
            return score_pairs(
                one.model,
                file.pairs,
                layout=layout,
                on_progress=lambda done, total: context.progress(what, done, total),
            )

        if reference is not None:
            return score("reference pairs", reference), score("pairs", lm)
        with without_adapter(lm):
            before = score("reference pairs", lm)
        return before, score("pairs", lm)

    def _sample(
        self, lm: LanguageModel, reference: LanguageModel | None, file: PairFile, context: StageContext
    ) -> Samples:
        from plait.align.samples import sample_both

        return sample_both(
            lm,
            [pair.prompt for pair in file.pairs[: self.sample]],
            max_new_tokens=self.sample_tokens,
            seeds=context.seeds.child("samples"),
            reference=reference,
            on_progress=lambda done, total: context.progress("samples", done, total),
        )

    def _win_rate(
        self, lm: LanguageModel, file: PairFile, samples: Samples | None, context: StageContext
    ) -> WinRate | None:
        if samples is None or self.scorer is None:
            return None
        prompts = [lm.decode(pair.prompt) for pair in file.pairs[: len(samples.policy)]]
        ours, theirs = ([one.text for one in side] for side in (samples.policy, samples.reference))
        return win_rate(prompts, ours, theirs, scorer=self.scorer, seeds=context.seeds.child("win-rate"))

    def _result(
        self,
        before: PairScores,
        after: PairScores,
        samples: Samples | None,
        won: WinRate | None,
        context: StageContext,
    ) -> EvaluationResult:
        seeds = context.seeds
        drawn = None
        if samples is not None:
            drawn = SampleFacts.of(
                samples.kl(seeds), samples.length_ratio(seeds), prompts=len(samples.policy), cut=samples.cut[0]
            )
        facts = RunFacts(
            curve=(),
            before=before,
            after=after,
            batch_size=1,
            kl_per_token=drawn.kl_token.value if drawn else None,
            length_ratio=drawn.length_ratio.value if drawn else None,
        )
        gap = after.implicit(before)
        views = {"per token": (before.per_token(), after.per_token()), "in sum": (before.summed(), after.summed())}
        measures = [
            Measure(
                name=f"chosen likelier {how}, share",
                before=Estimate.of(accuracy(first)),
                after=Estimate.of(accuracy(last)),
            )
            for how, (first, last) in views.items()
        ]
        implicit = Estimate.of(accuracy(gap))
        measures.append(Measure(name="chosen has the higher implicit reward, share", before=None, after=implicit))
        measures += [
            Measure(
                name=f"margin {how}, nats",
                before=Estimate.of(bootstrap(first, seeds=seeds)),
                after=Estimate.of(bootstrap(last, seeds=seeds)),
            )
            for how, (first, last) in views.items()
        ]
        measures.append(
            Measure(name="gap of the log-ratios, nats", before=None, after=Estimate.of(bootstrap(gap, seeds=seeds)))
        )
        return EvaluationResult(
            model=str(self.model_folder or self.model).rstrip("/").rpartition("/")[2],
            pairs=len(before.chosen),
            measures=tuple(measures),
            samples=drawn,
            win_rate=_won(won, self.scorer.name) if won is not None and self.scorer is not None else None,
            verdicts=VerdictFacts.of(judge(facts, thresholds=self.thresholds, seeds=seeds)),
        )


def _won(won: WinRate, scorer: Literal["function", "reward_model", "judge"]) -> WinRateFacts:
    counts = {name: getattr(won, name) for name in ("wins", "ties", "losses", "swayed", "unreadable")}
    return WinRateFacts(scorer=scorer, rate=Estimate.of(won.rate), **counts)


def _describe(result: EvaluationResult, context: StageContext) -> None:
    report = context.report
    accuracy_after = result.measures[2].after
    report.headline = f"implicit-reward accuracy {accuracy_after.text()} on {result.pairs} held-out pairs"
    report.tables.append(before_and_after(result.measures))
    if result.samples is not None:
        report.headline += f", KL {result.samples.kl_token.value:.3f} nats per token"
        report.tables.append(sample_table(result.samples))
    if (won := result.win_rate) is not None:
        report.headline += f", win rate {won.rate.text()}"
        report.tables.append(
            Table(
                title=f"Win rate over the reference, by {won.scorer}",
                columns=["what", "value"],
                rows=[
                    ["win rate, ties half (95 % interval)", won.rate.text()],
                    ["won", won.wins],
                    ["tied", won.ties],
                    ["lost", won.losses],
                    ["a judge followed the order of the answers", won.swayed],
                    ["no readable answer", won.unreadable],
                ],
            )
        )
    report.tables.append(verdict_table(result.verdicts))
    report.notes += [told(verdict) for verdict in result.verdicts if verdict.level != "fine"]
    report.facts["pairs set aside"] = context.quarantine.total


def _write_scores(file: PairFile, before: PairScores, after: PairScores, path: Path) -> None:
    from plait.flows.align_score import Scored

    write_table(Scored(file, after, before).table(), path)


def _write_samples(lm: LanguageModel, file: PairFile, samples: Samples | None, context: StageContext) -> None:
    """Both answers to each prompt; an empty file where none were asked for."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in ("id", "prompt", "policy", "reference")])
    rows = [] if samples is None else list(zip(file.pairs, samples.policy, samples.reference, strict=False))
    table = [
        {"id": pair.id, "prompt": lm.decode(pair.prompt), "policy": ours.text, "reference": theirs.text}
        for pair, ours, theirs in rows
    ]
    write_table(pa.Table.from_pylist(table, schema), context.output("samples"), schema=schema)
    if table:
        text = "\n\n".join(f"[{key}]\n{table[0][key]}" for key in ("prompt", "policy", "reference"))
        context.report.examples.append(Example(title=f"Both answers to the prompt of pair {table[0]['id']}", text=text))
