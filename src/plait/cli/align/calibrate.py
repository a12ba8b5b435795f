"""`plait align calibrate`: how well the confidences in a file fit what was right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plait.cli.output import Json, examples, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add this verb to the group."""
    app.command("calibrate", epilog=_CALIBRATE)(calibrate)


_CALIBRATE = examples(
    ("plait align calibrate answers.jsonl", "ECE, Brier, AUROC, … with intervals"),
    ("plait align calibrate answers.jsonl -o calibration.html", "and a page with the reliability diagram"),
    ("plait align calibrate answers.jsonl --json", "for a program"),
)


def calibrate(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS",
            help="Records with confidence (0 to 1), or text that states one; and correct, or answer and reference.",
        ),
    ],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a page with figures: .html.")] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    max_bad: Annotated[float, typer.Option(help="Stop if more than this share of the records is bad.")] = 0.1,
    json: Json = False,
) -> None:
    """Measure stated confidences: calibration, ranking and risk, each with a 95 % interval."""
    import tempfile

    from plait.core.quarantine import Quarantine
    from plait.core.report import write_page
    from plait.core.seeds import Seeds
    from plait.flows.confidence_answers import measure_answers, read_answers

    with tempfile.TemporaryDirectory() as scratch:
        place = out.with_suffix(".quarantine.jsonl") if out is not None else Path(scratch) / "quarantine.jsonl"
        quarantine = Quarantine(place)
        read = read_answers(answers, quarantine, max_bad_fraction=max_bad)
    result, report = measure_answers(read, seeds=Seeds(seed), resamples=resamples)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_page(out, report, title=answers.name, meta=f"plait align calibrate, seed {seed}")
    if json:
        told: dict[str, Any] = {**result, "set aside": quarantine.counts, "out": out}
        print_json(told)
        return
    for table in report.tables:
        print_table(table.columns, table.rows, header=True)
    typer.echo(f"\n{report.headline}")
    for reason, count in quarantine.counts.items():
        typer.echo(f"set aside {count}: {reason}")
