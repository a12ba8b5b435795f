"""What `align.preference` tells a person: accuracy and margins before and after, and a verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from plait.align.evaluate import Interval, PairScores, accuracy, bootstrap
from plait.align.pairs import TokenPair
from plait.core.figures import Bars, Example, Histogram, Lines, StageReport, Table
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from plait.align.evaluate import Numbers

_FEW = 100  # pairs below which the report says how coarse its numbers are


@dataclass(frozen=True)
class Measured:
    """What there is to tell: held-out scores before and after, the scalars of each step, and the pairs."""

    before: PairScores
    after: PairScores
    curve: Sequence[Mapping[str, float]]
    records: Sequence[Mapping[str, Any]]
    pairs: Sequence[TokenPair]


def describe(measured: Measured, report: StageReport, *, beta: float, seeds: Seeds) -> None:
    """Fill a report.

    Args:
        measured: The run.
        report: Its headline, facts, figures, table, example and notes are set.
        beta: β0, by which the implicit reward multiplies the gap.
        seeds: Stream of the bootstrap intervals.
    """
    before, after = measured.before, measured.after
    count = len(measured.pairs)
    wins = {
        "per token": (accuracy(before.per_token(), seeds=seeds), accuracy(after.per_token(), seeds=seeds)),
        "summed": (accuracy(before.summed(), seeds=seeds), accuracy(after.summed(), seeds=seeds)),
    }
    implicit = accuracy(after.implicit(before), seeds=seeds)
    first, last = wins["per token"]
    report.headline = (
        f"held-out preference accuracy {first.value:.2f} → {last.value:.2f} ({count} pairs), "
        f"margin {before.per_token().mean():+.2f} → {after.per_token().mean():+.2f} nats per token"
    )
    report.facts |= {
        "held-out pairs measured": count,
        "implicit-reward accuracy after": round(implicit.value, 3),
        "chosen log-probability, change in nats": round(float((after.chosen - before.chosen).mean()), 2),
        "rejected log-probability, change in nats": round(float((after.rejected - before.rejected).mean()), 2),
    }
    report.tables.append(_table(measured, wins, implicit, beta=beta, seeds=seeds))
    report.figures += [_loss(measured.curve), _accuracies(wins, implicit), _margins(before, after)]
    report.examples += _turned(measured)
    report.notes += _verdict(measured, first=first, last=last, seeds=seeds)


def _table(
    measured: Measured, wins: Mapping[str, tuple[Interval, Interval]], implicit: Interval, *, beta: float, seeds: Seeds
) -> Table:
    before, after = measured.before, measured.after

    def row(what: str, first: Interval | None, last: Interval) -> list[str | int | float | None]:
        return [what, first.text() if first else "0 by definition", last.text()]

    return Table(
        title="Held-out pairs before and after",
        columns=["measure", "before (95 % interval)", "after (95 % interval)"],
        rows=[
            row("chosen likelier per token, share", *wins["per token"]),
            row("chosen likelier in sum, share", *wins["summed"]),
            [f"chosen has the higher implicit reward (β = {beta:g}), share", "0.50 by definition", implicit.text()],
            row(
                "margin per token, nats",
                bootstrap(before.per_token(), seeds=seeds),
                bootstrap(after.per_token(), seeds=seeds),
            ),
            row("margin in sum, nats", bootstrap(before.summed(), seeds=seeds), bootstrap(after.summed(), seeds=seeds)),
            row("implicit-reward margin, nats × β", None, bootstrap(beta * after.implicit(before), seeds=seeds)),
        ],
        note="Intervals cover the choice of held-out pairs, not of the training seed.",
    )


def _loss(curve: Sequence[Mapping[str, float]]) -> Lines:
    points = [(float(entry["step"]), round(float(entry["loss"]), 5)) for entry in curve]
    return Lines(title="Training loss", x="step", y="loss (nats)", series={"loss": points})


def _accuracies(wins: Mapping[str, tuple[Interval, Interval]], implicit: Interval) -> Bars:
    groups = [*wins, "implicit reward"]
    return Bars(
        title="Held-out preference accuracy",
        y="share of pairs",
        groups=groups,
        series={
            "before": [*(round(first.value, 4) for first, _ in wins.values()), 0.5],
            "after": [*(round(last.value, 4) for _, last in wins.values()), round(implicit.value, 4)],
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
    record = measured.records[row]
    if not all(isinstance(record[key], str) for key in ("prompt", "chosen", "rejected")):
        return []
    text = "\n\n".join(f"[{key}]\n{record[key]}" for key in ("prompt", "chosen", "rejected"))
    title = f"Largest change: margin {first[row]:+.2f} → {last[row]:+.2f} nats per token (pair {record['id']})"
    return [Example(title=title, text=text)]


def _verdict(measured: Measured, *, first: Interval, last: Interval, seeds: Seeds) -> list[str]:
    """What went well or badly, each with its number and something to try."""
    before, after = measured.before, measured.after
    gain = bootstrap(after.per_token() - before.per_token(), seeds=seeds)
    notes = _margin_notes(gain, last)
    notes += _likelihood_notes(
        float((after.chosen - before.chosen).mean()), float((after.rejected - before.rejected).mean())
    )
    trained = [float(entry["accuracy"]) for entry in measured.curve[-8:]]
    seen, unseen = sum(trained) / max(1, len(trained)), float((after.implicit(before) > 0).mean())
    if seen - unseen > 0.2:
        notes.append(
            f"On its last training pairs the implicit reward is right in {seen:.0%}, on held-out ones in {unseen:.0%}: "
            "the adapter has begun to learn its pairs by heart."
        )
    count = len(measured.pairs)
    if count < _FEW:
        notes.append(
            f"{count} held-out pairs: one pair is {1 / count:.2f} of accuracy, and its 95 % interval is "
            f"{last.low:.2f} to {last.high:.2f} after training, {first.low:.2f} to {first.high:.2f} before."
        )
    return notes


def _margin_notes(gain: Interval, last: Interval) -> list[str]:
    if gain.high < 0:
        return [
            f"The margin fell by {-gain.value:.2f} nats per token on held-out pairs: look at the labels, or lower the "
            "learning rate."
        ]
    if gain.low <= 0:
        return [
            f"The margin did not clearly change: {gain.text()} nats per token. Try more steps, or a higher learning "
            "rate."
        ]
    if last.value < 0.5:
        return [
            f"The model still finds the rejected text likelier in {1 - last.value:.0%} of the pairs, though less so "
            "than before. More steps would go on from here."
        ]
    return []


def _likelihood_notes(chosen: float, rejected: float) -> list[str]:
    """``chosen`` and ``rejected`` are changes of log-probability, in nats."""
    if chosen >= 0:
        return [f"The chosen texts became likelier ({chosen:+.1f} nats each); the rejected changed by {rejected:+.1f}."]
    if rejected < chosen:
        return [
            f"The chosen texts themselves became less likely ({chosen:+.1f} nats each), the rejected even more so "
            f"({rejected:+.1f}): likelihood displacement. The model learnt which of two is better, not to write it; a "
            "larger β or a lower learning rate holds it closer to its reference."
        ]
    return [f"Both texts moved the wrong way: chosen by {chosen:+.1f} nats, rejected by {rejected:+.1f}."]
