"""What `align.preference` tells a person and a program: measures before and after, figures, verdicts in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plait.align.evaluate import Interval, PairScores, accuracy, bootstrap
from plait.align.verdicts import RunFacts, Verdict, judge
from plait.core.figures import Bars, Example, Histogram, Lines, StageReport, Table
from plait.core.seeds import Seeds
from plait.flows.align_pairs import PairFile
from plait.flows.align_result import Estimate, FlipFacts, Measure, PreferenceResult, SampleFacts, VerdictFacts

if TYPE_CHECKING:
    from plait.align.evaluate import Numbers
    from plait.align.samples import Samples
    from plait.flows.align import Preference
    from plait.flows.align_flips import Flips


@dataclass(frozen=True)
class Measured:
    """What there is to tell of a run.

    Args:
        before: Held-out scores under the reference.
        after: The same after training.
        curve: The scalars of each step.
        heldout: The held-out pairs.
        trained_on: How many pairs were trained on.
        samples: Of policy and reference, where they were asked for.
        flips: What became of flipped training pairs, where they are known.
        set_aside: Reason → records that could not be used.
    """

    before: PairScores
    after: PairScores
    curve: Sequence[Mapping[str, float]]
    heldout: PairFile
    trained_on: int
    samples: Samples | None = None
    flips: Flips | None = None
    set_aside: Mapping[str, int] = field(default_factory=dict[str, int])


def describe(measured: Measured, report: StageReport, *, stage: Preference, seeds: Seeds) -> PreferenceResult:
    """Fill a report, and say the same for programs.

    Args:
        measured: The run.
        report: Its headline, facts, figures, tables, example and notes are set.
        stage: The settings it ran with.
        seeds: Stream of the bootstrap intervals.
    """
    before, after = measured.before, measured.after
    count = len(measured.heldout.pairs)
    measures = _measures(measured, beta=beta_of(stage), seeds=seeds)
    first, last = measures[0].before, measures[0].after
    report.headline = (
        f"held-out preference accuracy {first.value if first else 0.5:.2f} → {last.value:.2f} ({count} pairs), "
        f"margin {before.per_token().mean():+.2f} → {after.per_token().mean():+.2f} nats per token"
    )
    report.facts |= {
        "held-out pairs measured": count,
        "implicit-reward accuracy after": round(measures[2].after.value, 3),
        "chosen log-probability, change in nats": round(float((after.chosen - before.chosen).mean()), 2),
        "rejected log-probability, change in nats": round(float((after.rejected - before.rejected).mean()), 2),
    }
    result = _result(measured, measures, stage=stage, seeds=seeds)
    report.tables += [before_and_after(measures), *more_tables(result)]
    report.figures += [_loss(measured.curve), *_betas(measured.curve), _accuracies(measures), _margins(before, after)]
    report.examples += _turned(measured)
    report.tables.append(verdict_table(result.verdicts))
    report.notes += [told(verdict) for verdict in result.verdicts if verdict.level != "fine"]
    return result


def beta_of(stage: Preference) -> float:
    """β0 of the stage's objective, where β is a number or a rule."""
    beta: Any = stage.objective.beta
    return float(getattr(beta, "value", beta))


def told(verdict: VerdictFacts) -> str:
    """A verdict as one paragraph."""
    return f"{verdict.level.capitalize()}. {Verdict(**verdict.model_dump()).text()}"


def verdict_table(verdicts: Sequence[VerdictFacts]) -> Table:
    """All verdicts, those that found nothing included."""
    return Table(
        title="Verdicts",
        columns=["looked at", "level", "measured", "threshold", "unit"],
        rows=[[v.name, v.level, float(f"{v.measured:.3g}"), v.threshold, v.unit] for v in verdicts],
        note="Reasons and remedies of all that are not fine stand below.",
    )


def _measures(measured: Measured, *, beta: float, seeds: Seeds) -> tuple[Measure, ...]:
    before, after = measured.before, measured.after

    def both(name: str, first: Interval | None, last: Interval) -> Measure:
        return Measure(name=name, before=Estimate.of(first) if first else None, after=Estimate.of(last))

    def mean(values: Numbers) -> Interval:
        return bootstrap(values, seeds=seeds)

    gap = after.implicit(before)
    return (
        both("chosen likelier per token, share", accuracy(before.per_token()), accuracy(after.per_token())),
        both("chosen likelier in sum, share", accuracy(before.summed()), accuracy(after.summed())),
        both(f"chosen has the higher implicit reward (β = {beta:g}), share", None, accuracy(gap)),
        both("margin per token, nats", mean(before.per_token()), mean(after.per_token())),
        both("margin in sum, nats", mean(before.summed()), mean(after.summed())),
        both("implicit-reward margin, nats × β", None, mean(beta * gap)),
    )


def _result(measured: Measured, measures: tuple[Measure, ...], *, stage: Preference, seeds: Seeds) -> PreferenceResult:
    before, after = measured.before, measured.after
    samples = _sampled(measured.samples, seeds) if measured.samples is not None else None
    flips = FlipFacts(**vars(measured.flips)) if measured.flips is not None else None
    objective = stage.objective.build(seeds=seeds)
    facts = RunFacts(
        curve=measured.curve,
        before=before,
        after=after,
        batch_size=stage.batch_size,
        pooled=not objective.separable,
        dynamic_beta=objective.beta.needs_statistics,
        max_grad_norm=stage.max_grad_norm,
        kl_per_token=samples.kl_token.value if samples else None,
        length_ratio=samples.length_ratio.value if samples else None,
        flips_learnt=flips.learnt if flips else None,
    )
    return PreferenceResult(
        model=stage.model_name.rstrip("/").rpartition("/")[2],
        objective=stage.objective.model_dump(mode="json"),
        trained_on=measured.trained_on,
        steps=len(measured.curve),
        set_aside=dict(measured.set_aside),
        measures=measures,
        heldout=tuple(pair.id for pair in measured.heldout.pairs),
        gaps=tuple(after.implicit(before).tolist()),
        margins=tuple(after.per_token().tolist()),
        margins_before=tuple(before.per_token().tolist()),
        samples=samples,
        flips=flips,
        verdicts=VerdictFacts.of(judge(facts, thresholds=stage.thresholds, seeds=seeds)),
    )


def _sampled(samples: Samples, seeds: Seeds) -> SampleFacts:
    return SampleFacts.of(
        samples.kl(seeds), samples.length_ratio(seeds), prompts=len(samples.policy), cut=samples.cut[0]
    )


def before_and_after(measures: Sequence[Measure]) -> Table:
    """Measures of the held-out pairs."""
    by_definition = {True: "0.50 by definition", False: "0 by definition"}
    return Table(
        title="Held-out pairs before and after",
        columns=["measure", "before (95 % interval)", "after (95 % interval)"],
        rows=[
            [m.name, m.before.text() if m.before else by_definition[m.name.endswith("share")], m.after.text()]
            for m in measures
        ],
        note="Intervals cover the choice of held-out pairs, not of the training seed.",
    )


def more_tables(result: PreferenceResult) -> list[Table]:
    """What the policy writes, and what became of flipped pairs, where they were measured."""
    tables: list[Table] = []
    if result.samples is not None:
        tables.append(sample_table(result.samples))
    if (flips := result.flips) is not None:
        rows: list[list[str | int | float | None]] = [
            ["share of the pairs measured", round(flips.flipped / flips.pairs, 3)],
            ["share of the weight", round(flips.weight, 3)],
            ["share of the gradient's size", round(flips.pull, 3)],
            ["learnt the wrong way round, share of the flipped", round(flips.learnt, 3)],
        ]
        note = f"{flips.flipped} of {flips.pairs} training pairs, weighed at once as the objective would after the run."
        tables.append(Table(title="Flipped training pairs", columns=["what they have", "share"], rows=rows, note=note))
    return tables


def sample_table(samples: SampleFacts) -> Table:
    """KL and lengths of the policy's samples."""
    return Table(
        title="What the policy writes now",
        columns=["measure", "value (95 % interval)"],
        rows=[
            ["KL to the reference, nats per sample", samples.kl_sequence.text()],
            ["KL to the reference, nats per token", samples.kl_token.text(3)],
            ["length over the reference's", samples.length_ratio.text()],
            ["samples that ran out of tokens, share", f"{samples.cut:.2f}"],
        ],
        note=f"{samples.prompts} held-out prompts, temperature 1, KL by the k3 estimator.",
    )


def _loss(curve: Sequence[Mapping[str, float]]) -> Lines:
    points = [(float(entry["step"]), round(float(entry["loss"]), 5)) for entry in curve]
    return Lines(title="Training loss", x="step", y="loss (nats)", series={"loss": points})


def _betas(curve: Sequence[Mapping[str, float]]) -> list[Lines]:
    """β of each step, where it moves."""
    if len({entry["beta"] for entry in curve}) < 2:
        return []
    points = [(float(entry["step"]), round(float(entry["beta"]), 6)) for entry in curve]
    return [Lines(title="β of each batch", x="step", y="β (1 / nats)", series={"β": points})]


def _accuracies(measures: Sequence[Measure]) -> Bars:
    shares = measures[:3]
    return Bars(
        title="Held-out preference accuracy",
        y="share of pairs",
        groups=["per token", "summed", "implicit reward"],
        series={
            "before": [round(m.before.value, 4) if m.before else 0.5 for m in shares],
            "after": [round(m.after.value, 4) for m in shares],
        },
        note="The implicit reward is 0 for every pair before training, so its accuracy starts at 0.5 by definition.",
    )


def _margins(before: PairScores, after: PairScores) -> Histogram:
    import numpy as np

    both = np.concatenate([before.per_token(), after.per_token()])
    low, high = math.floor(both.min() * 4) / 4, math.ceil(both.max() * 4) / 4
    edges = np.linspace(low, max(high, low + 0.25), 17)

    def count(values: Numbers) -> list[float]:
        return [float(n) for n in np.histogram(values, bins=edges)[0]]

    return Histogram(
        title="Margin of each held-out pair",
        x="log-probability of chosen minus rejected (nats per token)",
        edges=[round(float(edge), 6) for edge in edges],
        counts={"before": count(before.per_token()), "after": count(after.per_token())},
        note="Right of 0 the model finds the chosen text likelier.",
    )


def _turned(measured: Measured) -> list[Example]:
    """The held-out pair whose margin moved most."""
    first, last = measured.before.per_token(), measured.after.per_token()
    row = int((last - first).argmax())
    record = measured.heldout.records[row]
    if not all(isinstance(record.get(key), str) for key in ("prompt", "chosen", "rejected")):
        return []
    text = "\n\n".join(f"[{key}]\n{record[key]}" for key in ("prompt", "chosen", "rejected"))
    title = f"Largest change: margin {first[row]:+.2f} → {last[row]:+.2f} nats per token (pair {record['id']})"
    return [Example(title=title, text=text)]
