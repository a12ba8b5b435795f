"""What `align.sft` tells a person: held-out loss and perplexity before and after, and whether the change is real."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.align.evaluate import Interval
from plait.align.sft.evaluate import TextScores, change_interval, loss_interval
from plait.core.figures import Bars, Lines, StageReport, Table
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from plait.align.sft.evaluate import Numbers

_FEW = 30  # texts below which an interval over texts is too narrow to trust
_SHOWN = 200  # texts drawn one by one


@dataclass(frozen=True)
class MeasuredTexts:
    """What there is to tell: held-out losses before and after, and the scalars of each step."""

    before: TextScores
    after: TextScores
    curve: Sequence[Mapping[str, float]]


def describe(measured: MeasuredTexts, report: StageReport, *, seeds: Seeds) -> None:
    """Fill a report.

    Args:
        measured: The run.
        report: Its headline, facts, figures, table and notes are set.
        seeds: Stream of the bootstrap intervals.
    """
    before, after = measured.before, measured.after
    count = len(before.tokens)
    first, last = loss_interval(before, seeds=seeds), loss_interval(after, seeds=seeds)
    change = change_interval(before, after, seeds=seeds)
    report.headline = (
        f"held-out loss {first.value:.3f} → {last.value:.3f} nats per token, "
        f"perplexity {before.perplexity:.2f} → {after.perplexity:.2f} ({count} texts)"
    )
    report.facts |= {
        "steps": len(measured.curve),
        "tokens learnt, repeats counted": int(sum(entry["tokens"] for entry in measured.curve)),
        "held-out texts": count,
        "held-out tokens": int(before.tokens.sum()),
        "held-out loss before, nats per token": round(first.value, 4),
        "held-out loss after, nats per token": round(last.value, 4),
        "held-out perplexity before": round(before.perplexity, 3),
        "held-out perplexity after": round(after.perplexity, 3),
    }
    report.tables.append(_table(first, last, change))
    report.figures += [_loss(measured, first, last), _texts(before, after)]
    report.notes += _notes(measured, change, count)


def _table(first: Interval, last: Interval, change: Interval) -> Table:
    def perplexity(of: Interval) -> str:
        return Interval(math.exp(of.value), math.exp(of.low), math.exp(of.high)).text()

    return Table(
        title="Held-out texts before and after",
        columns=["", "before", "after", "change"],
        rows=[
            ["loss, nats per token", first.text(3), last.text(3), change.text(3)],
            ["perplexity", perplexity(first), perplexity(last), f"× {perplexity(change)}"],
        ],
        note="With 95 % intervals over texts. The change is taken text by text, so its interval is the one to look at.",
    )


def _loss(measured: MeasuredTexts, first: Interval, last: Interval) -> Lines:
    points = [(float(entry["step"]), round(float(entry["loss"]), 5)) for entry in measured.curve]
    ends = (0.0, float(measured.curve[-1]["step"]))
    return Lines(
        title="Loss",
        x="step",
        y="loss (nats per token)",
        series={"training": points, "held out": [(ends[0], round(first.value, 5)), (ends[1], round(last.value, 5))]},
        bands={
            "held out": [(x, round(of.low, 5), round(of.high, 5)) for x, of in zip(ends, (first, last), strict=True)]
        },
        note="Held-out loss is measured before and after training.",
    )


def _texts(before: TextScores, after: TextScores) -> Bars:
    """How the loss of each text changed, from the most improved on."""
    change = sorted(_per_token(after) - _per_token(before))
    step = max(1, math.ceil(len(change) / _SHOWN))
    shown = change[::step]
    return Bars(
        title="Change of each held-out text",
        y="change of loss (nats per token)",
        groups=[str(n * step + 1) for n in range(len(shown))],
        series={"change": [round(float(value), 4) for value in shown]},
        note=f"Below 0 the text became likelier: {sum(c < 0 for c in change)} of {len(change)}.",
    )


def _per_token(scores: TextScores) -> Numbers:
    return scores.loss / scores.tokens


def _notes(measured: MeasuredTexts, change: Interval, count: int) -> list[str]:
    notes: list[str] = []
    if change.low <= 0 <= change.high:
        notes.append(
            f"The held-out loss did not clearly change ({change.text(3)} nats per token). Train for more steps, or "
            "raise the learning rate."
        )
    elif change.value > 0:
        notes.append(
            f"The held-out texts became less likely ({change.text(3)} nats per token): the model forgets, or learns "
            "its texts by heart. Lower the learning rate, train for fewer steps, or give more texts."
        )
    drop = float(measured.curve[0]["loss"]) - float(measured.curve[-1]["loss"])
    if change.value < 0 and drop > 2 * -change.value + 0.5:
        notes.append(
            f"The training loss fell by {drop:.2f} nats per token and the held-out loss by {-change.value:.2f}: much "
            "of what is learnt is the training texts themselves."
        )
    if count < _FEW:
        notes.append(f"{count} held-out texts are few: the intervals are too narrow. Give more, or raise measure.")
    return notes
