"""The doctor's findings as a page: estimates, margins, the most suspicious pairs, advice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plait.align.noise.doctor import Findings
from plait.core.figures import Example, Histogram, StageReport, Table

_BINS = 30
_LISTED, _SHOWN = 20, 3
_LONGEST = 600  # characters of a shown text


def describe_findings(found: Findings, report: StageReport, *, texts: Mapping[str, Sequence[str]]) -> None:
    """Fill a report.

    Args:
        found: From `plait.align.noise.doctor.examine`.
        report: Added to.
        texts: Id → prompt, chosen and rejected, for the examples; may lack any.
    """
    import numpy as np

    rate, counts = found.flip_rate, found.counts()
    report.headline = (
        f"about {rate.value:.0%} of {len(found.diagnoses):,} labels look wrong"
        if rate.agree
        else f"the share of wrong labels is uncertain: {rate.mixture.value:.0%} or {rate.confident.value:.0%}"
    )
    report.facts |= {
        "pairs": len(found.diagnoses),
        "flip rate, mixture (95 %)": rate.mixture.text(),
        "flip rate, confident learning (95 %)": rate.confident.text(),
        "flip rate among the surest margins": round(rate.bound, 3),
        "humps apart (spreads)": round(rate.components.separation, 2),
        "scorer": found.scorer,
        "to flip / to drop": f"{counts['flip']:,} / {counts['drop']:,}",
    }
    if found.from_repeats is not None:
        report.facts["flip rate, repeated pairs"] = round(found.from_repeats, 3)
    report.facts["train with"] = json.dumps(found.advice.objective, ensure_ascii=False)
    report.tables.append(
        Table(
            title="Most suspicious pairs",
            columns=["id", "P(wrong)", "margin", "action", "evidence"],
            rows=[
                [d.id, round(d.probability, 3), round(d.margin, 2), d.action, "; ".join(d.evidence)]
                for d in found.diagnoses[:_LISTED]
            ],
        )
    )
    if found.advice.alternatives:
        rows: list[list[Any]] = [[json.dumps(o, ensure_ascii=False), why] for o, why in found.advice.alternatives]
        report.tables.append(Table(title="Other objectives worth a run", columns=["objective", "why"], rows=rows))
    counted, edges = np.histogram([d.margin for d in found.diagnoses], bins=_BINS)
    report.figures.append(
        Histogram(
            title="Held-out margins",
            x="log-odds that the label is right",
            edges=[float(edge) for edge in edges],
            counts={"pairs": [float(count) for count in counted]},
            note="wrong labels gather on the left, if the scorer can tell",
        )
    )
    for diagnosis in found.diagnoses[:_SHOWN]:
        if diagnosis.id in texts:
            prompt, chosen, rejected = (text[:_LONGEST] for text in texts[diagnosis.id])
            text = f"PROMPT\n{prompt}\n\nCHOSEN\n{chosen}\n\nREJECTED\n{rejected}"
            report.examples.append(Example(title=f"pair {diagnosis.id}: {'; '.join(diagnosis.evidence)}", text=text))
    report.notes += [*found.advice.reasons, *rate.remarks()]
    report.warnings += [f"set aside {count}: {reason}" for reason, count in found.set_aside.items()]


def findings_json(found: Findings, *, listed: int = _LISTED) -> dict[str, Any]:
    """The same for a program; all pairs are in the relabel file."""
    rate = found.flip_rate
    return {
        "pairs": len(found.diagnoses),
        "flip_rate": {
            "value": rate.value,
            "mixture": vars(rate.mixture),
            "confident": vars(rate.confident),
            "bound": rate.bound,
            "separation": rate.components.separation,
            "agree": rate.agree,
            "repeated_pairs": found.from_repeats,
        },
        "scorer": found.scorer,
        "actions": found.counts(),
        "advice": vars(found.advice),
        "suspicious": found.relabels()[:listed],
        "set_aside": found.set_aside,
        "remarks": rate.remarks(),
    }
