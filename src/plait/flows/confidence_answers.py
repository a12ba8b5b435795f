"""A file of answers with stated confidences: read, measured, described."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plait.align.confidence.figures import confidence_histogram, reliability_diagram, risk_coverage_figure
from plait.align.confidence.metrics import Numbers, measure
from plait.align.confidence.parse import Parsed, Status, count_statuses, parse_confidence
from plait.align.confidence.quality import exact_match
from plait.core.figures import StageReport, Table
from plait.core.io import read_table
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import DataError


@dataclass(frozen=True)
class Answers:
    """What a file of answers says.

    Args:
        confidence: As stated; NaN where none was, ``[answers]``.
        correct: 0 or 1, ``[answers]``.
        statuses: How many confidences were read how.
    """

    confidence: Numbers
    correct: Numbers
    statuses: Mapping[str, int]

    @property
    def stated(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which answers state a confidence."""
        return ~np.isnan(self.confidence)


def read_answers(path: Path, quarantine: Quarantine, *, max_bad_fraction: float = 0.1) -> Answers:
    """Records with ``confidence`` or ``text``, and ``correct`` or ``answer`` and ``reference``.

    An answer that states no confidence is kept, and counted; a record that cannot be judged is set aside.

    Raises:
        DataError: A field is missing from all records, or too many records are bad.
    """
    table = read_table(path, quarantine=quarantine)
    names = set(table.column_names)
    if not names & {"confidence", "text"} or not names & {"correct", "reference"}:
        raise DataError(
            f"fields are {', '.join(table.column_names)}",
            code="data.missing-field",
            where=str(path),
            hint="answers have confidence or text, and correct or answer and reference",
        )
    rows = table.to_pylist()
    read: list[tuple[Parsed, float]] = []
    for number, row in enumerate(rows, 1):
        one = _read_row(row)
        if isinstance(one, str):
            quarantine.add(where=f"{path}:{number}", reason=one, record=row)
        else:
            read.append(one)
    quarantine.check(len(rows), max_bad_fraction=max_bad_fraction, where=str(path))
    values = [math.nan if parsed.value is None else parsed.value for parsed, _ in read]
    return Answers(
        np.array(values, dtype=np.float64),
        np.array([right for _, right in read], dtype=np.float64),
        count_statuses(parsed for parsed, _ in read),
    )


def measure_answers(answers: Answers, *, seeds: Seeds, resamples: int = 1000) -> tuple[dict[str, Any], StageReport]:
    """Every metric with its interval, as data and as a report.

    Raises:
        DataError: No answer states a confidence.
    """
    stated = answers.stated
    if not stated.any():
        raise DataError(
            "no answer states a confidence", code="align.nothing-to-measure", hint="see plait.align.confidence.parse"
        )
    confidence, correct = answers.confidence[stated], answers.correct[stated]
    measures = measure(confidence, correct, seeds=seeds, resamples=resamples)
    parse_rate = float(stated.mean())
    result: dict[str, Any] = {
        "answers": len(stated),
        "parse rate": parse_rate,
        "statuses": dict(answers.statuses),
        "measures": {name: {k: _json(v) for k, v in vars(i).items()} for name, i in measures.items()},
    }
    ece, auroc = measures["ECE"], measures["AUROC"]
    report = StageReport(
        headline=f"ECE {ece.text()}, AUROC {auroc.text()} over {len(correct)} answers; "
        f"{parse_rate:.0%} of {len(stated)} state a confidence"
    )
    report.facts |= {"answers": len(stated), "parse rate": round(parse_rate, 4), **answers.statuses}
    report.tables.append(
        Table(
            title="Stated confidence",
            columns=["measure", "value (95 % interval)"],
            rows=[[name, interval.text(3)] for name, interval in measures.items()],
        )
    )
    models = {"stated": confidence}
    report.figures += [
        reliability_diagram(models, correct),
        confidence_histogram(models),
        risk_coverage_figure(models, correct),
    ]
    return result, report


def _read_row(row: Mapping[str, Any]) -> tuple[Parsed, float] | str:
    correct = row.get("correct")
    if correct is None:
        answer, reference = row.get("answer", row.get("text")), row.get("reference")
        if not isinstance(answer, str) or not isinstance(reference, str):
            return "neither correct nor answer and reference"
        correct = exact_match(answer, reference)
    if correct not in (0, 1):  # True and False are among them
        return "correct is neither true nor false"
    given = row.get("confidence")
    if given is None:
        text = row.get("text")
        return parse_confidence(text if isinstance(text, str) else ""), float(correct)
    if isinstance(given, str):
        return parse_confidence(f"Confidence: {given}"), float(correct)
    if not 0 <= given <= 1:
        return "confidence is outside 0 to 1"
    return Parsed(float(given), Status.OK), float(correct)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value
