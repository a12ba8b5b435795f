"""Stage ``align.compare``: several runs of ``align.preference`` in one table, with paired differences.

- {name: compare, use: align.compare, runs: ["${dpo.result}", "${beta_dpo.result}", "${dr_dpo.result}"]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, TypeAdapter, ValidationError

from plait.align.evaluate import accuracy, bootstrap
from plait.align.presets import Preset
from plait.core.figures import Bars, Table
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.flows.align_report import told
from plait.flows.align_result import Estimate, PreferenceResult

if TYPE_CHECKING:
    from pathlib import Path

    from plait.core.seeds import Seeds


class Compare(Stage):
    """Puts runs on the same held-out pairs side by side; every difference is paired, and to the first run.

    Example:
        - {name: compare, use: align.compare, runs: ["${dpo.result}", "${dr_dpo.result}"]}
    """

    outputs: ClassVar[Mapping[str, str]] = {"comparison": "comparison.json"}
    prints: ClassVar[bool] = True
    """``plait run`` prints this stage's tables at the end."""

    runs: tuple[InputPath, ...] = Field(min_length=2)
    """The ``result`` of two or more runs of ``align.preference``."""

    def run(self, context: StageContext) -> None:
        """Read the results, check that they can be compared, and write one table."""
        import json

        results = [_read(path) for path in self.runs]
        _check_same_pairs(results, self.runs)
        names = labels(results)
        rows = compare(results, seeds=context.seeds)
        named = [{"method": name} | row for name, row in zip(names, rows, strict=True)]
        context.output("comparison").write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")
        _describe(results, names, rows, context)


def compare(results: Sequence[PreferenceResult], *, seeds: Seeds) -> list[dict[str, Any]]:
    """The measures of each run, and its accuracy's difference to the first run's, pair by pair.

    Args:
        results: Of the same held-out pairs in the same order.
        seeds: Stream of the bootstrap.

    Returns:
        For each run ``accuracy`` and ``margin`` (intervals), ``difference`` (an interval; ``None`` for the first),
        ``kl``, ``flips`` and ``verdicts`` (names of those not fine).
    """
    import numpy as np

    rows: list[dict[str, Any]] = []
    first = np.sign(np.array(results[0].gaps)) / 2
    for number, result in enumerate(results):
        gaps, margins = np.array(result.gaps), np.array(result.margins)
        wins = np.sign(gaps) / 2
        difference = Estimate.of(bootstrap(wins - first, seeds=seeds)) if number else None
        rows.append(
            {
                "accuracy": Estimate.of(accuracy(gaps)).model_dump(),
                "difference": difference.model_dump() if difference else None,
                "accuracy per token": Estimate.of(accuracy(margins)).model_dump(),
                "gap": Estimate.of(bootstrap(gaps, seeds=seeds)).model_dump(),
                "kl": result.samples.kl_sequence.model_dump() if result.samples else None,
                "flips": result.flips.model_dump() if result.flips else None,
                "verdicts": [v.name for v in result.verdicts if v.level in ("problem", "warning")],
            }
        )
    return rows


def labels(results: Sequence[PreferenceResult]) -> list[str]:
    """The objective of each run, with the settings that are not its defaults."""
    named: list[str] = []
    for result in results:
        preset = TypeAdapter[Any](Preset).validate_python(result.objective)
        usual = type(preset)().model_dump(mode="json")
        changed = {key: value for key, value in preset.model_dump(mode="json").items() if value != usual[key]}
        shown = ", ".join(f"{key} {_short(value)}" for key, value in changed.items())
        named.append(f"{preset.name} ({shown})" if shown else preset.name)
    return named


def _short(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, dict) else str(value)


def _read(path: Path) -> PreferenceResult:
    try:
        return PreferenceResult.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(
            "this is not the result of align.preference",
            code="align.not-a-result",
            where=str(path),
            hint="name ${stage.result}",
        ) from error


def _check_same_pairs(results: Sequence[PreferenceResult], paths: Sequence[Path]) -> None:
    for result, path in zip(results, paths, strict=True):
        if result.heldout != results[0].heldout:
            raise DataError(
                f"measured on {len(result.heldout)} held-out pairs, the first run on {len(results[0].heldout)} others",
                code="align.other-pairs",
                where=str(path),
                hint="give all runs one file under heldout, and one `measure`",
            )


def _describe(
    results: Sequence[PreferenceResult], names: Sequence[str], rows: Sequence[Mapping[str, Any]], context: StageContext
) -> None:
    report = context.report
    columns = ["method", "accuracy", "difference", "accuracy per token", "gap, nats"]
    sampled = all(row["kl"] for row in rows)
    flipped = all(row["flips"] for row in rows)
    columns += ["KL, nats per sample"] if sampled else []
    columns += ["flips: weight", "flips: gradient", "flips: learnt"] if flipped else []
    columns.append("warnings")
    table: list[list[str | int | float | None]] = []
    for name, row in zip(names, rows, strict=True):
        cells: list[str | int | float | None] = [
            name,
            _text(row["accuracy"]),
            _text(row["difference"], sign=True) if row["difference"] else "",
            _text(row["accuracy per token"]),
            _text(row["gap"]),
        ]
        cells += [_text(row["kl"])] if sampled else []
        if flipped:
            flips = row["flips"]
            cells += [f"{flips['weight']:.2f}", f"{flips['pull']:.2f}", f"{flips['learnt']:.2f}"]
        table.append([*cells, ", ".join(row["verdicts"]) or "none"])
    note = (
        f"{len(results[0].heldout)} held-out pairs; accuracy is that of the implicit reward; differences are to "
        f"{names[0]}, pair by pair; 95 % intervals over the choice of pairs, not of the training seed."
    )
    if flipped:
        flips = rows[0]["flips"]
        note += (
            f" {flips['flipped']} of {flips['pairs']} training pairs measured have a flipped label: their share of "
            "the batch's weight and of the gradient's size at the end, and how many were learnt the wrong way round."
        )
    report.tables.append(Table(title="Methods compared", columns=columns, rows=table, note=note))
    best = max(range(len(rows)), key=lambda n: rows[n]["accuracy"]["value"])
    report.headline = f"highest held-out accuracy: {names[best]}, {_text(rows[best]['accuracy'])}"
    clear = [
        f"{name} {'above' if row['difference']['value'] > 0 else 'below'} {names[0]}"
        for name, row in zip(names, rows, strict=True)
        if row["difference"] and (row["difference"]["low"] > 0 or row["difference"]["high"] < 0)
    ]
    report.notes.append(
        f"Clear of chance on these pairs: {'; '.join(clear)}."
        if clear
        else "No difference of accuracy is clear of chance on these pairs: take more pairs, steps and seeds."
    )
    report.figures.append(
        Bars(
            title="Held-out accuracy of the implicit reward",
            y="share of pairs",
            groups=list(names),
            series={"accuracy": [round(float(row["accuracy"]["value"]), 4) for row in rows]},
        )
    )
    report.notes += [
        f"{name}: {told(verdict)}"
        for name, result in zip(names, results, strict=True)
        for verdict in result.verdicts
        if verdict.level in ("problem", "warning")
    ]


def _text(interval: Mapping[str, float], *, sign: bool = False) -> str:
    plus = "+" if sign else ""
    return f"{interval['value']:{plus}.2f} ({interval['low']:{plus}.2f} to {interval['high']:{plus}.2f})"
