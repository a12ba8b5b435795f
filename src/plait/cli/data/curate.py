"""`plait data run`, `explain` and `ops`: curate files by a recipe of Data-Juicer's form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.curation import CurationJob, Summary
    from plait.data.execute import Curated

Recipe = Annotated[Path, typer.Argument(help="A recipe: a YAML file with `process`, as Data-Juicer's.")]
Dataset = Annotated[
    list[str] | None, typer.Option("--dataset", "-d", help="What to read instead of the recipe's dataset_path.")
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the group."""
    app.command("run", epilog=_RUN)(run)
    app.command("explain", epilog=_EXPLAIN)(explain)
    app.command("ops", epilog=_OPS)(ops)


_RUN = examples(
    ("plait data run recipe.yaml", "reads its dataset_path, writes its export_path"),
    ("plait data run recipe.yaml -d pages.jsonl.zst -o clean.jsonl", "other files"),
    ("plait data run recipe.yaml --study", "measure everything, so that `suggest` can try thresholds"),
    ("plait data run recipe.yaml --engine ray --address head:6379", "on a Ray cluster with a shared disk"),
)
_EXPLAIN = examples(("plait data explain recipe.yaml", "order, selectivity and seconds; actual ones after a run"))
_OPS = examples(
    ("plait data ops", "all operations"),
    ("plait data ops repetition", "those whose name or summary holds a word"),
)


def run(
    recipe: Recipe,
    *,
    dataset: Dataset = None,
    export: Annotated[Path | None, typer.Option("--export", "-o", help="File to write.")] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster to join.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "--np", help="Chunks at a time; all processors by default.")
    ] = None,
    study: Annotated[bool, typer.Option("--study", help="Measure every number of every row.")] = False,
    compat: Annotated[
        Literal["plait", "data-juicer"], typer.Option(help="Reproduce Data-Juicer's known bugs, or not.")
    ] = "plait",
    report: Annotated[bool, typer.Option("--report", help="Also draw report.html.")] = False,
    max_bad: Annotated[float, typer.Option(help="Stop if more than this share of the records is bad.")] = 0.01,
    json: Json = False,
) -> None:
    """Curate files: read, run the operations, write what is kept and why the rest is not."""
    from dataclasses import replace

    from plait.data.curation import curate
    from plait.engines import open_engine

    asked = job_of(recipe, dataset, export, compat=compat == "data-juicer")
    job = replace(asked, study=study, max_bad_fraction=max_bad)
    with _progress() as tell, open_engine(engine, address=address) as opened:
        curated, summary = curate(job, engine=opened, workers=workers, on_progress=tell)
    if report:
        _draw(job, curated, summary)
    if json:
        print_json({**vars(summary), "export": str(job.export)})
        return
    _print_summary(summary)
    typer.echo(f"\nkept {summary.kept:,} of {summary.read:,} in {summary.seconds:.1f} s: {job.export}")
    for reason, count in summary.quarantined.items():
        typer.echo(f"set aside {count:,}: {reason} (see {summary.folder / 'quarantine.jsonl'})")
    typer.echo(f"Why:    plait data why {summary.folder} ID")


def explain(
    recipe: Recipe,
    *,
    dataset: Dataset = None,
    rows: Annotated[int, typer.Option(help="Rows of the sample.", min=10)] = 2_000,
    json: Json = False,
) -> None:
    """Show the plan of a recipe: order, what each operation would keep, and seconds."""
    from plait.data.curation import Summary
    from plait.data.explain import explain as forecast
    from plait.data.samples import first_rows

    job = job_of(recipe, dataset)
    sample, scale = first_rows(job, rows)
    told = Summary.open(job.folder).ops if (job.folder / "summary.json").exists() else ()
    plan, expected = forecast(job.ops, sample, scale=scale, told=told)
    if json:
        print_json({"plan": plan.describe(), "operations": [vars(one) for one in expected]})
        return
    typer.echo(plan.describe() + "\n")
    head = ["operation", "pass", "cost", "needs", "keeps", "seconds", "kept in the run", "seconds in the run"]
    table = [
        [
            e.name,
            e.number,
            e.cost,
            ", ".join(e.needs),
            _share(e.keeps),
            f"{e.seconds:.2f}",
            _share(e.actual_keeps),
            None if e.actual_seconds is None else f"{e.actual_seconds:.2f}",
        ]
        for e in expected
    ]
    print_table(head, table)
    total = sum(e.seconds for e in expected)
    typer.echo(
        f"\n{sample.height:,} rows tried; the whole is about {scale:,.0f} times that: {total:,.1f} processor seconds"
    )


def ops(
    search: Annotated[str | None, typer.Argument(help="Only those whose name or summary holds this.")] = None,
    *,
    json: Json = False,
) -> None:
    """List the operations."""
    from plait.data.catalog import OPS

    word = (search or "").lower()
    rows = [[n, e.summary] for n, e in OPS.items() if word in n.lower() or word in e.summary.lower()]
    if json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
        return
    print_table(["operation", "what it does"], rows)


def job_of(
    recipe: Path, dataset: Sequence[str] | None = None, export: Path | None = None, *, compat: bool = False
) -> CurationJob:
    """A recipe as a job; what it asks for without effect here is said once."""
    from dataclasses import replace

    from plait.data.curation import CurationJob
    from plait.data.juicer import read_juicer_recipe
    from plait.data.read.sources import parse_paths

    read = read_juicer_recipe(recipe)
    if read.ignored:
        typer.echo("without effect here: " + "; ".join(read.ignored), err=True)
    if dataset:
        read = replace(read, sources=tuple(source for one in dataset for source in parse_paths(one)))
    if export is not None or read.export_path is None:
        read = replace(read, export_path=export or Path(f"{read.project}.jsonl"))
    return CurationJob.of_recipe(read, compat=compat)


def _print_summary(summary: Summary) -> None:
    rows = list[list[Any]]()
    for op in summary.ops:
        dropped = op["read"] - op["kept"] if op["keeps"] else None
        rows.append(
            [
                op["name"],
                op["keeps"],
                f"{op['read']:,}" if op["read"] else "reused",
                None if dropped is None else f"{dropped:,}",
                f"{op['seconds']:.2f}",
            ]
        )
    print_table(["operation", "keeps", "rows", "dropped", "seconds"], rows)


def _draw(job: CurationJob, curated: Curated, summary: Summary) -> None:
    from plait.core.figures import StageReport
    from plait.core.report import write_page
    from plait.data.report import describe

    report = StageReport()
    describe(curated, summary.folder / "lineage.parquet", report)
    report.facts["records set aside"] = sum(summary.quarantined.values())
    page = summary.folder / "report.html"
    write_page(page, report, title=job.export.name, meta=f"from {job.where} in {summary.seconds:.1f} s")
    typer.echo(f"report: {page}", err=True)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"


def _progress() -> Any:
    from plait.cli.data.progress import counting

    return counting()
