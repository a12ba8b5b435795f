"""`plait align doctor` and `bench-noise`: which labels are wrong, and which method bears how many of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from plait.core.figures import StageReport

Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS", help="Records with prompt, chosen and rejected: JSON lines, Parquet, …")
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the group."""
    app.command("doctor", epilog=_DOCTOR)(doctor)
    app.command("bench-noise", epilog=_BENCH)(bench_noise)


_DOCTOR = examples(
    ("plait align doctor pairs.jsonl", "how many labels look wrong, which, and what to train with"),
    ("plait align doctor pairs.jsonl -o relabel.jsonl --report doctor.html", "to read, and to edit"),
    ("plait align doctor pairs.jsonl --apply relabel.jsonl --cleaned clean.jsonl", "flip and drop as the file says"),
    ("plait align doctor pairs.jsonl --scorer model -m smollm2-135m", "margins of a model that never saw the labels"),
)
_BENCH = examples(
    ("plait align bench-noise", "all methods at 0 and 40 % flips on a toy with a known reward, in under a minute"),
    ("plait align bench-noise --seeds 8 --pairs 2000 --epochs 8 --rates 0,0.2,0.4", "an hour or less, for intervals"),
)


def doctor(
    pairs: Pairs,
    *,
    scorer: Annotated[
        Literal["text", "model", "trained"],
        typer.Option(
            help="What gives the margins: words and lengths (seconds), a language model as it is (about a second per "
            "pair), or LoRA adapters trained on the other folds (several seconds per pair)."
        ),
    ] = "text",
    model: Annotated[str, typer.Option("--model", "-m", help="For the last two: a model's name or folder.")] = (
        "smollm2-135m"
    ),
    adapter: Annotated[
        Path | None, typer.Option(help="For `model`: a LoRA adapter, trained on other pairs than these.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the relabel file: one line per pair.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Also draw this HTML page.")] = None,
    apply: Annotated[
        Path | None,
        typer.Option("--apply", help="Do not examine: apply this relabel file.", exists=True, dir_okay=False),
    ] = None,
    how: Annotated[
        Literal["action", "prior"],
        typer.Option(help="With --apply: flip and drop, or write each pair's flip_prior for cdpo and rdpo."),
    ] = "action",
    cleaned: Annotated[Path | None, typer.Option(help="With --apply: the pairs to write.")] = None,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal findings.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "cpu",
    max_bad: Annotated[float, typer.Option(help="Stop if more than this share of the records is bad.")] = 0.1,
    json: Json = False,
) -> None:
    """Find wrong labels: estimate their share, list the suspicious pairs with evidence, advise an objective."""
    import tempfile

    from plait.core.io import read_table, writable
    from plait.core.quarantine import Quarantine
    from plait.errors import UsageError

    if (apply is None) != (cleaned is None):
        raise UsageError(
            "--apply and --cleaned belong together",
            code="align.doctor-apply",
            hint="say which relabel file to apply, and where the pairs go",
        )
    if cleaned is not None:
        writable(cleaned)
    with tempfile.TemporaryDirectory() as scratch:
        quarantine = Quarantine(Path(scratch) / "quarantine.jsonl")
        records: list[dict[str, Any]] = read_table(pairs, quarantine=quarantine).to_pylist()
        quarantine.check(len(records) + quarantine.total, max_bad_fraction=max_bad, where=str(pairs))
        set_aside = dict(quarantine.counts)
    if apply is not None and cleaned is not None:
        _apply(records, apply, cleaned, how, json=json)
        return
    _examine(
        records,
        set_aside,
        max_bad=max_bad,
        scorer=scorer,
        model=model,
        adapter=adapter,
        device=device,
        seed=seed,
        out=out,
        report=report,
        json=json,
        name=pairs.name,
    )


def bench_noise(
    *,
    seeds: Annotated[int, typer.Option(help="Languages, rewards and flips; two or more give intervals.", min=1)] = 2,
    rates: Annotated[str, typer.Option(help="Shares of flipped labels.")] = "0,0.4",
    pairs: Annotated[int, typer.Option(help="Training pairs of each policy.", min=64)] = 640,
    epochs: Annotated[int, typer.Option(help="Passes over them.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal tables.")] = 0,
    json: Json = False,
) -> None:
    """Compare objectives under flipped labels, where the true reward is known: small transformers, trained at once."""
    from plait.cli.data.progress import counting
    from plait.core.optional import require
    from plait.core.seeds import Seeds

    require("torch", extra="align", feature="the noise experiment")
    from plait.align.noise.bench import run_experiment, table
    from plait.align.noise.toy import ToySettings

    settings = ToySettings(pairs=pairs, epochs=epochs, measured=(epochs,), prompts=256)
    with counting() as tell:
        cells = run_experiment(seeds=seeds, rates=_rates(rates), settings=settings, root=Seeds(seed), on_progress=tell)
    columns, rows = table(cells, seeds=Seeds(seed))
    if json:
        print_json(
            {
                "settings": settings.model_dump(),
                "seeds": seeds,
                "cells": [
                    {"method": cell.method, "rate": cell.rate, "measures": [vars(m) for m in cell.measures[epochs]]}
                    for cell in cells
                ],
            }
        )
        return
    print_table(columns, rows, header=True)
    typer.echo(
        "\naccuracy: held-out pairs that the implicit reward puts right; win rate: answers against the reference "
        "model's under the true reward;\nAUROC: implicit reward as a detector of flips; pull: share of the last "
        "epoch's gradient that came from flipped pairs"
    )
    if seeds < 8:
        typer.echo("note: a few seeds on a toy show orders of magnitude, not which of two close methods is better")


def _examine(
    records: list[dict[str, Any]],
    set_aside: dict[str, int],
    *,
    max_bad: float,
    scorer: Literal["text", "model", "trained"],
    model: str,
    adapter: Path | None,
    device: str,
    seed: int,
    out: Path | None,
    report: Path | None,
    json: bool,
    name: str,
) -> None:
    from plait.align.noise.doctor import as_texts, examine, record_id, write_relabels
    from plait.align.noise.margins import model_margins, trained_margins
    from plait.align.noise.report import describe_findings, findings_json
    from plait.cli.data.progress import counting
    from plait.core.figures import StageReport
    from plait.core.report import write_page
    from plait.core.seeds import Seeds

    records = [{**record, "id": record_id(record, number)} for number, record in enumerate(records)]
    seeds = Seeds(seed)
    margins: dict[str, float] | None = None
    with counting() as tell:
        if scorer == "model":
            margins = model_margins(records, model=model, adapter=adapter, device=device, on_progress=tell)
        elif scorer == "trained":
            margins = trained_margins(records, model=model, seeds=seeds, on_progress=tell)
        found = examine(
            records,
            margins=margins,
            scorer_name=scorer if scorer == "text" else f"{scorer} ({model})",
            seeds=seeds,
            on_progress=tell,
        )
    found.set_aside.update(set_aside)
    _check(found.set_aside, len(records) + sum(set_aside.values()), max_bad, name)
    page = StageReport()
    texts = {pair.id: (pair.prompt, pair.chosen, pair.rejected) for pair in as_texts(records)[0]}
    describe_findings(found, page, texts=texts)
    if out is not None:
        write_relabels(found.relabels(), out)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_page(report, page, title=name, meta="the noise doctor")
    if json:
        print_json({**findings_json(found), "relabels": None if out is None else str(out)})
        return
    _print(page)
    if out is not None:
        typer.echo(f"\nwrote {out}: read it, change what you disagree with, then")
        typer.echo(f"Next:   plait align doctor {name} --apply {out} --cleaned cleaned.jsonl")


def _apply(
    records: list[dict[str, Any]], relabels: Path, cleaned: Path, how: Literal["action", "prior"], *, json: bool
) -> None:
    import pyarrow as pa

    from plait.align.noise.doctor import apply_relabels, read_relabels, record_id
    from plait.core.io import write_table

    entries = read_relabels(relabels)
    made = apply_relabels(records, entries, how=how)
    cleaned.parent.mkdir(parents=True, exist_ok=True)
    write_table(pa.Table.from_pylist(made), cleaned)
    ids = {record_id(record, number) for number, record in enumerate(records)}
    flipped = sum(entry["action"] == "flip" for name, entry in entries.items() if name in ids)
    told = {
        "cleaned": str(cleaned),
        "pairs": len(made),
        "flipped": flipped if how == "action" else 0,
        "dropped": len(records) - len(made),
        "unknown_ids": len(set(entries) - ids),
    }
    if json:
        print_json(told)
        return
    typer.echo(f"{cleaned}: {told['pairs']:,} pairs, {told['flipped']:,} flipped, {told['dropped']:,} dropped")
    if told["unknown_ids"]:
        typer.echo(f"note: {told['unknown_ids']:,} ids of {relabels} are not among the pairs")


def _check(set_aside: dict[str, int], read: int, max_bad: float, where: str) -> None:
    from plait.errors import DataError

    bad = sum(set_aside.values())
    if bad > max_bad * read:
        raise DataError(
            f"{bad} of {read} records are no pairs ({', '.join(f'{count} {why}' for why, count in set_aside.items())})",
            code="align.too-many-bad",
            where=where,
            hint="correct them, or allow more with --max-bad",
        )


def _rates(text: str) -> list[float]:
    from plait.errors import UsageError

    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f'"{text}" is no list of numbers', code="align.rates", hint="as in 0,0.2,0.4") from error
    if any(not 0 <= rate < 0.5 for rate in rates):
        raise UsageError(f"a flip rate is from 0 to below 0.5, not {text}", code="align.rates")
    return rates


def _print(page: StageReport) -> None:
    typer.echo(page.headline)
    for label, value in page.facts.items():
        typer.echo(f"  {label}: {value}")
    for table in page.tables:
        typer.echo(f"\n{table.title}")
        print_table(table.columns, table.rows, header=True)
    for remark in [*page.warnings, *page.notes]:
        typer.echo(f"note: {remark}")
