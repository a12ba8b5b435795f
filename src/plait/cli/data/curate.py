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
    from plait.data.juicer import JuicerRecipe
    from plait.engines import Engine

Recipe = Annotated[
    Path, typer.Argument(help="A recipe: a YAML file with `process`, as Data-Juicer's, or the name of a shipped one.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="key=value", help="Settings to change, e.g. process.text_length_filter.min_len=100."),
]
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
    ("plait data run web -d pages.jsonl -o clean.jsonl", "a shipped recipe"),
    ("plait data run recipe.yaml process.words_num_filter.min_num=40", "another bound"),
    ("plait data run recipe.yaml --study --report", "measure everything, for `suggest`; draw clean.run/report.html"),
    ("plait data run dj.yaml --compat data-juicer", "Data-Juicer's own answers, its known bugs included"),
    ("plait data run recipe.yaml --engine ray --address head:6379", "on a Ray cluster with a shared disk"),
)
_EXPLAIN = examples(
    ("plait data explain recipe.yaml", "order, selectivity and seconds; actual ones after a run"),
    ("plait data explain web -d pages.jsonl -o clean.jsonl", "beside those of the run that wrote clean.jsonl"),
)
_OPS = examples(
    ("plait data ops", "all operations"),
    ("plait data ops repetition", "those whose name or summary holds a word"),
)


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    dataset: Dataset = None,
    export: Annotated[Path | None, typer.Option("--export", "-o", help="File to write.")] = None,
    engine: Annotated[str | None, typer.Option(help="local or ray; the recipe's own by default.")] = None,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster to join.")] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "--np", help="Processors to keep busy; as the recipe's np says by default.", min=1),
    ] = None,
    study: Annotated[
        bool, typer.Option("--study", help="Measure every number of every row, for `suggest` and `tune`.")
    ] = False,
    compat: Annotated[
        Literal["plait", "data-juicer"],
        typer.Option(help="Whose answers where the two differ: `data-juicer` brings its known bugs back."),
    ] = "plait",
    report: Annotated[bool, typer.Option("--report", help="Also draw report.html.")] = False,
    max_bad: Annotated[
        float, typer.Option(help="Stop if more than this share of the records is bad.", min=0, max=1)
    ] = 0.01,
    json: Json = False,
) -> None:
    """Curate files: read, run the operations, write what is kept and why the rest is not."""
    from dataclasses import replace

    from plait.data.memory import keep

    keep()
    read = recipe_of(recipe, dataset, export, overrides or ())
    job = replace(job_of_recipe(read, compat=compat == "data-juicer"), study=study, max_bad_fraction=max_bad)
    carry_out(job, read, engine=engine, address=address, workers=workers, report=report, json=json)


def carry_out(
    job: CurationJob,
    recipe: JuicerRecipe,
    *,
    engine: str | None,
    address: str | None,
    workers: int | None,
    report: bool,
    json: bool,
) -> None:
    """Run the job of a recipe with a view of it on the terminal, and say what came out.

    Args:
        job: What to do.
        recipe: Says where to do it, as far as nothing else is given, and what to show of it.
        engine: ``local`` or ``ray``.
        address: The Ray cluster to join.
        workers: Processors to keep busy.
        report: Whether to draw a page of figures.
        json: Whether to print one JSON document.
    """
    from plait.data.curation import curate
    from plait.data.trace import write_trace
    from plait.errors import RunError

    try:
        with _progress() as tell, _open(recipe, engine, address) as opened:
            curated, summary = curate(job, engine=opened, workers=workers or recipe.processes, on_progress=tell)
        # What an earlier run left would tell of other rows.
        (summary.folder / "report.html").unlink(missing_ok=True)
        trace = write_trace(summary, rows=recipe.trace_rows, ops=recipe.trace_ops, fields=recipe.trace_fields)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
            raise  # of a network, not of a disk
        raise RunError(
            f"the disk refused: {error.strerror or error}",
            code="data.disk",
            where=str(error.filename or job.export),
            hint="make room or mend its permissions; the same command goes on where it stopped",
        ) from error
    if report:
        _draw(job, curated, summary)
    dropped = _dropped(summary)
    if json:
        ops = [{**op, "dropped": count} for op, count in zip(summary.ops, dropped, strict=True)]
        print_json({**vars(summary), "ops": ops, "export": str(job.export), "trace": trace})
        return
    _print_summary(summary, dropped)
    files = summary.exported
    written = files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} to {Path(files[-1]).name}"
    typer.echo(f"\nkept {summary.kept:,} of {summary.read:,} in {summary.seconds:.1f} s: {written}")
    for reason, count in summary.quarantined.items():
        typer.echo(f"set aside {count:,}: {reason} (see {summary.folder / 'quarantine.jsonl'})")
    for op in summary.ops:
        if failed := op.get("failed"):
            typer.echo(f"no result for {failed:,} of {op['read']:,} rows: {op['name']} (why: __dj__meta__ of the row)")
    for reason, count in summary.skipped.items():
        typer.echo(f"left out {count:,} files: {reason}")
    typer.echo(f"Why:    plait data why {summary.folder} ID")
    if trace is not None:
        typer.echo(f"Trace:  {trace}")


def _open(recipe: JuicerRecipe, engine: str | None, address: str | None) -> Engine:
    """The engine asked for, or else the recipe's own."""
    from plait.engines import open_engine
    from plait.errors import EngineError

    name = engine or recipe.engine
    if address is not None or name == "local" or recipe.ray_address is None:
        return open_engine(name, address=address)
    try:
        return open_engine(name, address=recipe.ray_address)
    except EngineError:
        # Data-Juicer's default, which many recipes state.
        if recipe.ray_address != "auto":
            raise
        typer.echo("ray_address is auto and no Ray runs on this machine: one is started for this run", err=True)
        return open_engine(name)


def explain(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    dataset: Dataset = None,
    export: Annotated[
        Path | None, typer.Option("--export", "-o", help="File that a run wrote: its figures stand beside these.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows of the sample.", min=10)] = 2_000,
    json: Json = False,
) -> None:
    """Show the plan of a recipe: order, what each operation would keep, and seconds."""
    from plait.data.curation import Summary
    from plait.data.explain import explain as forecast
    from plait.data.samples import first_rows

    job = job_of(recipe, dataset, export, overrides or ())
    sample, scale = first_rows(job, rows)
    told = Summary.open(job.folder).ops if (job.folder / "summary.json").exists() else ()
    plan, expected = forecast(job.ops, sample, scale=scale, told=told)
    if json:
        print_json({"plan": plan.describe(), "operations": [vars(one) for one in expected]})
        return
    typer.echo(plan.describe() + "\n")
    head = ["operation", "pass", "cost", "needs", "keeps", "seconds"]
    table = [[e.name, e.number, e.cost, ", ".join(e.needs), _share(e.keeps), f"{e.seconds:.2f}"] for e in expected]
    if told:
        head += ["kept in the run", "seconds in the run"]
        for row, e in zip(table, expected, strict=True):
            row += [_share(e.actual_keeps), None if e.actual_seconds is None else f"{e.actual_seconds:.2f}"]
    print_table(head, table, header=True)
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
    from plait.errors import UsageError, nearest

    word = (search or "").lower()
    rows = [[n, e.summary] for n, e in OPS.items() if word in n.lower() or word in e.summary.lower()]
    if not rows:
        raise UsageError(f'no operation has "{search}" in its name or summary', code="data.no-such-op",
                         hint=nearest(word, OPS))  # fmt: skip
    if json:
        print_json([{"name": name, "summary": summary} for name, summary in rows])
        return
    print_table(["operation", "what it does"], rows)


def job_of(
    recipe: Path,
    dataset: Sequence[str] | None = None,
    export: Path | None = None,
    overrides: Sequence[str] = (),
) -> CurationJob:
    """A recipe as a job; what it asks for without effect here is said once."""
    return job_of_recipe(recipe_of(recipe, dataset, export, overrides))


def recipe_of(
    recipe: Path,
    dataset: Sequence[str] | None = None,
    export: Path | None = None,
    overrides: Sequence[str] = (),
) -> JuicerRecipe:
    """A recipe with what the command line says instead; it always knows where to write."""
    from dataclasses import replace

    from plait.cli.data.recipe import read
    from plait.data.read.sources import parse_paths

    found = read(recipe, overrides)
    if dataset:
        found = replace(found, sources=tuple(source for one in dataset for source in parse_paths(one)))
    return replace(found, export_path=export or found.export_path or Path(f"{found.project}.jsonl"))


def job_of_recipe(read: JuicerRecipe, *, compat: bool = False) -> CurationJob:
    """The job that a recipe asks for; what it asks for without effect here is said once."""
    from plait.data.curation import CurationJob

    if unheeded := without_effect(read):
        typer.echo("without effect here: " + "; ".join(_by_reason(unheeded)), err=True)
    return CurationJob.of_recipe(read, compat=compat)


def without_effect(read: JuicerRecipe) -> list[str]:
    """Settings of a recipe that change nothing here, each with the reason."""
    found = list(read.ignored)
    suffixes = read.export_path.suffixes if read.export_path is not None else []
    if read.export_format is not None and suffixes and f".{read.export_format}" not in suffixes:
        found.append(f"export_type: the suffix of {read.export_path} says how it is written")
    if read.percentiles:
        from plait.data.study.analyze import PERCENTILES

        others = [f"{p:g}" for p in read.percentiles if round(100 * p, 9) not in PERCENTILES]
        if others:
            shown = ", ".join(map(str, PERCENTILES))
            found.append(f"percentiles: an analysis always shows {shown}, and not {', '.join(others)}")
    if read.keep_stats and _makes_rows(read):
        found.append("keep_stats_in_res_ds: rows that a grouper or an aggregator makes have no numbers")
    if read.keep_hashes:
        found.append("keep_hashes_in_res_ds: what deduplicators compared is not kept")
    return found


def _by_reason(unheeded: Sequence[str]) -> list[str]:
    """Each reason once, after all the settings that it is the reason for; of operations' settings the names alone."""
    found = dict[str, list[str]]()
    for one in unheeded:
        what, _, reason = one.partition(": ")
        found.setdefault(reason, []).append(what)
    return [
        f"{', '.join(dict.fromkeys(w.split(' of ')[0] for w in what) if len(what) > 1 else what)}: {reason}"
        for reason, what in found.items()
    ]


def _makes_rows(read: JuicerRecipe) -> bool:
    from plait.data.op import Reducer
    from plait.data.plan import read_ops

    return any(isinstance(op, Reducer) for _, op in read_ops(read.ops))


def _dropped(summary: Summary) -> list[int | None]:
    """By operation, the rows whose fate it decided: also where its results were there already."""
    import polars as pl

    fates = pl.scan_parquet(summary.folder / "lineage.parquet").group_by("dropped_by", "stat").len().collect()
    found = list[int | None]()
    for op, drops in zip(summary.ops, _may_drop(summary), strict=True):
        own = [count for name, stat, count in fates.iter_rows() if name == op["name"] and stat in (None, *op["stats"])]
        # Two uses of a filter differ in their stat; of a deduplicator they do not, and then what it read tells.
        alike = [(other["name"], other["stats"]) for other in summary.ops].count((op["name"], op["stats"]))
        found.append(None if not drops else sum(own) if alike == 1 else op["read"] - op["kept"])
    return found


def _may_drop(summary: Summary) -> list[bool]:
    """By operation, whether it drops rows: mappers change them, and reducers make new ones."""
    from plait.data.op import Barrier, Filter
    from plait.data.plan import read_ops

    return [isinstance(op, Filter | Barrier) for _, op in read_ops(summary.job.ops)]


def _print_summary(summary: Summary, dropped: Sequence[int | None]) -> None:
    rows = [
        [
            op["name"],
            op["keeps"],
            "reused" if 0 < op["read"] == op["reused"] else f"{op['read']:,}",
            None if count is None else f"{count:,}",
            f"{op['seconds']:.2f}",
        ]
        for op, count in zip(summary.ops, dropped, strict=True)
    ]
    print_table(["operation", "keeps", "rows", "dropped", "seconds"], rows, header=True)


def _draw(job: CurationJob, curated: Curated, summary: Summary) -> None:
    from plait.core.figures import StageReport
    from plait.core.report import write_page
    from plait.data.report import describe

    report = StageReport()
    describe(curated, summary.folder / "lineage.parquet", report)
    report.facts["records set aside"] = sum(summary.quarantined.values())
    report.next = [f"plait data why {summary.folder} ID"]
    most = max(zip(_dropped(summary), summary.ops, strict=True), key=lambda found: found[0] or 0, default=None)
    if most is not None and most[0]:
        report.next.append(f"plait data sample {summary.folder} --dropped-by {most[1]['name']}")
    if job.study:
        report.next.append(f"plait data suggest {summary.folder} --keep 0.6")
    page = summary.folder / "report.html"
    write_page(page, report, title=job.export.name, meta=f"from {job.where} in {summary.seconds:.1f} s")
    typer.echo(f"report: {page}", err=True)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"


def _progress() -> Any:
    from plait.cli.data.progress import counting

    return counting()
