"""`plait data analyze`, `suggest`, `tune`, `sketch`, `agree`, `quality`: find thresholds before trusting them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.data.curate import Overrides
from plait.cli.data.rejects import tell, temporary
from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from plait.core.figures import StageReport
    from plait.data.study.suggest import Suggestions
    from plait.data.study.what_if import WhatIf

Recipe = Annotated[Path, typer.Argument(help="A recipe: its filters say what is measured.")]
Run = Annotated[Path, typer.Argument(help="A run made with --study: its .run folder, or the file it wrote.")]
Dataset = Annotated[list[str] | None, typer.Option("--dataset", "-d", help="What to read instead of dataset_path.")]
Page = Annotated[Path | None, typer.Option("--report", help="Also draw this HTML page.")]
_SHORTEST_SECRET = 16  # bytes

NewRecipe = Annotated[
    Path | None, typer.Option("--write", help="Also write this recipe: the run's, with the settings found.")
]


def register(app: typer.Typer) -> None:
    """Add these verbs to the group."""
    app.command("analyze", epilog=_ANALYZE)(analyze)
    app.command("suggest", epilog=_SUGGEST)(suggest)
    app.command("tune", epilog=_TUNE)(tune)
    app.command("sketch", epilog=_SKETCH)(sketch)
    app.command("agree", epilog=_AGREE)(agree)
    app.command("quality", epilog=_QUALITY)(quality)


_ANALYZE = examples(
    ("plait data analyze recipe.yaml", "the numbers of its dataset_path, in one pass and constant memory"),
    ("plait data analyze web -d pages.jsonl --report analysis.html", "for a shipped recipe's filters, with plots"),
)
_SUGGEST = examples(
    ("plait data run recipe.yaml -o clean.jsonl --study", "first: measures every row"),
    ("plait data suggest clean.run --keep 0.6", "bounds that keep 60 % of the rows"),
    ("plait data suggest clean.run --method quantiles --cut 0.02", "2 % off each tail"),
    ("plait data suggest clean.run --method k-sigma --k 3", "the published rule, with what it would drop"),
    (
        "plait data suggest clean.run --labels labels.csv",
        "from rows you judged: a line id,good, then d17,yes and so on",
    ),
    ("plait data suggest clean.run --keep 0.6 --write better.yaml", "then `plait data run better.yaml`"),
)
_TUNE = examples(
    ("plait data run scored.yaml --study", "first: a recipe with quality_classifier_filter, which gives quality_score"),
    ("plait data tune scored.run --quality quality_score", "search bounds on what that run measured"),
    ("plait data tune scored.run --quality quality_score --write tuned.yaml", "then `plait data run tuned.yaml`"),
)
_SKETCH = examples(
    ("plait data sketch recipe.yaml --owner clinic-a --secret-file key -o a.sketch", "kilobytes instead of texts"),
    (
        "plait data sketch recipe.yaml --owner clinic-a --secret-file key -o a.sketch --epsilon 1",
        "with noise that hides any single row",
    ),
    ("plait data agree recipe.yaml a.sketch b.sketch", "whoever has all sketches: bounds for all owners"),
)
_AGREE = examples(
    (
        "plait data sketch recipe.yaml -d b.jsonl --owner clinic-b --secret-file key -o b.sketch",
        "first, each owner at home",
    ),
    ("plait data agree recipe.yaml a.sketch b.sketch", "bounds for all owners, and what they share"),
    ("plait data agree recipe.yaml a.sketch b.sketch --voice owners", "a small owner counts as much as a large one"),
    ("plait data agree recipe.yaml a.sketch b.sketch --write agreed.yaml", "a recipe that every owner runs"),
)
_QUALITY = examples(
    ("plait data quality books.jsonl crawl.jsonl -o quality.npz", "learns what tells the first from the second"),
    (
        "plait data run scored.yaml",
        "a recipe with `- quality_classifier_filter: {model: quality.npz}` keeps what it calls good",
    ),
    ("plait data quality books/ crawl/ -o quality.npz --text-key content", "folders, and another field"),
)


def analyze(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    dataset: Dataset = None,
    report: Page = None,
    json: Json = False,
) -> None:
    """Measure a dataset: percentiles, histograms, correlations, redundant filters, languages, sources."""
    from plait.cli.data.curate import job_of
    from plait.core.figures import StageReport
    from plait.data.plan import read_ops
    from plait.data.study.analyze import analyze as measure
    from plait.data.study.report import describe_analysis

    job = job_of(recipe, dataset, overrides=overrides or ())
    with temporary() as quarantine:
        found = measure(job.batches(quarantine), read_ops(job.ops), text_key=job.text_key)
        tell(quarantine.counts)
    page = StageReport()
    describe_analysis(found, page)
    read = "".join(f" -d {shlex.quote(one)}" for one in dataset or ())
    page.next += [
        f"plait data run {shlex.quote(str(recipe))}{read} -o clean.jsonl --study",
        "plait data suggest clean.run --keep 0.6 --report suggested.html",
    ]
    _show(found.to_json(), page, report, json=json, title=job.where)


def suggest(
    run: Run,
    *,
    method: Annotated[
        Literal["quantiles", "spread", "k-sigma"], typer.Option(help="How bounds follow from the numbers, as above.")
    ] = "spread",
    k: Annotated[float, typer.Option(help="For spread and k-sigma: how many deviations.")] = 3.0,
    cut: Annotated[float, typer.Option(help="For quantiles: share of the rows cut off each tail.")] = 0.01,
    keep: Annotated[float | None, typer.Option(help="Instead: bounds that keep this share of the rows.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Instead: bounds from labelled rows, a CSV of id,good.", exists=True, dir_okay=False),
    ] = None,
    write: NewRecipe = None,
    report: Page = None,
    json: Json = False,
) -> None:
    """Suggest thresholds, each with its evidence, from the numbers of a study.

    One rule at a time:

    * `--method spread`: median ± k robust deviations, each side by itself, so that skewed numbers get skewed bounds.

    * `--method k-sigma`: mean ± k standard deviations, as Data-Juicer's tool; right for bell-shaped numbers alone.

    * `--method quantiles`: the share `--cut` of the rows goes from each tail.

    * `--keep 0.6`: all tails are cut evenly, so that 60 % of the rows stay, however the filters overlap.

    * `--labels rows.csv`: bounds that part the rows you called good and bad best, each dropping all that lies beyond
      it (monotone); bounds that do not help are taken away.
    """
    from plait.cli.data.suggested import refuse_existing
    from plait.core.figures import StageReport
    from plait.data.study import suggest as rules
    from plait.data.study.report import describe_suggestions

    refuse_existing(write)
    asked = ask(run)
    found: Suggestions
    if labels is not None:
        found = rules.by_labels(asked, _labels(labels))
    elif keep is not None:
        found = rules.by_keep_rate(asked, keep)
    elif method == "k-sigma":
        found = rules.by_k_sigma(asked, k)
    elif method == "quantiles":
        found = rules.by_quantiles(asked, cut)
    else:
        found = rules.by_spread(asked, k)
    page = StageReport()
    describe_suggestions(found, page, asked if report is not None else None)
    page.next.append(f"plait data what-if {shlex.quote(str(run))} FILTER.SETTING=VALUE")
    page.next += [f"plait data run {shlex.quote(str(write))}"] if write else []
    _show(found.to_json(), page, report, json=json, title=f"{run.name}: {found.method}")
    write_recipe(run, found.settings, write, page.headline)


def tune(
    run: Run,
    *,
    quality: Annotated[str, typer.Option(help="Stat that says how good a row is.")],
    trials: Annotated[int, typer.Option(help="Points to try.", min=1)] = 100,
    mixture: Annotated[bool, typer.Option(help="Search the weights of sources too.")] = False,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal searches.")] = 0,
    write: NewRecipe = None,
    report: Page = None,
    json: Json = False,
) -> None:
    """Search thresholds (and mixture weights) on the numbers of a study; nothing is measured again."""
    from plait.cli.data.suggested import refuse_existing
    from plait.core.figures import StageReport
    from plait.data.study.report import describe_tuning
    from plait.data.study.tune import tune as search
    from plait.errors import UsageError

    refuse_existing(write)
    if write is not None and mixture:
        raise UsageError(
            "the weights found are of the rows' sources, and a recipe weighs files",
            code="data.weights-unwritten",
            hint="leave out --mixture or --write",
        )
    found = search(ask(run), quality=quality, trials=trials, mixture=mixture, seed=seed)
    page = StageReport()
    describe_tuning(found, page)
    _show(found.to_json(), page, report, json=json, title=f"{run.name}: tuned")
    write_recipe(run, found.settings, write, page.headline)


def sketch(
    recipe: Recipe,
    *,
    owner: Annotated[str, typer.Option(help="Your name among the owners.")],
    secret_file: Annotated[
        Path, typer.Option(help="File with a secret that the owners share.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The sketch to write.")],
    epsilon: Annotated[float | None, typer.Option(help="Add noise for differential privacy of this ε, e.g. 1.")] = None,
    dataset: Dataset = None,
    json: Json = False,
) -> None:
    """Sketch a dataset: kilobytes that owners exchange instead of texts.

    Each owner runs this at home, with the same recipe and secret, and sends the file to whoever runs `plait data
    agree`: best somebody who does not know the secret. It holds counts, percentiles, means and keyed hashes, no text.

    With `--epsilon` it holds noisy counts alone, without hashes or extremes, so that nobody can tell whether a row is
    in it (differential privacy). About 1 is common; a smaller one hides more and blurs the bounds more. Two sketches
    of the same rows spend the sum. All owners add noise, or none.
    """
    from plait.cli.data.curate import job_of
    from plait.data.plan import read_ops
    from plait.data.study.analyze import sketch as measure
    from plait.data.study.criteria import criteria
    from plait.data.study.privacy import domains, private

    job = job_of(recipe, dataset)
    secret = secret_of(secret_file)
    with temporary() as quarantine:
        made = measure(job.batches(quarantine), read_ops(job.ops), owner=owner, secret=secret, text_key=job.text_key)
        tell(quarantine.counts)
    made = private(made, epsilon, domain=domains(criteria(read_ops(job.ops)))) if epsilon is not None else made
    out.parent.mkdir(parents=True, exist_ok=True)
    made.write(out)
    told = {"sketch": str(out), "bytes": out.stat().st_size, "rows": made.overall.rows, "epsilon": epsilon}
    told["blur"] = made.privacy.blur if made.privacy else None
    if json:
        print_json(told)
        return
    typer.echo(f"{out}: {told['bytes']:,} bytes about {told['rows']:,} rows")
    if made.privacy is not None:
        share = 100 * made.privacy.blur / max(made.overall.rows, 1)
        typer.echo(f"the noise moves ranks by about {made.privacy.blur:,.0f} rows ({share:.1f} %)")


def agree(
    recipe: Recipe,
    sketches: Annotated[list[Path], typer.Argument(help="One sketch per owner.", exists=True, dir_okay=False)],
    *,
    rule: Annotated[Literal["quantiles", "spread", "k-sigma"], typer.Option(help="How bounds follow.")] = "quantiles",
    voice: Annotated[Literal["rows", "owners"], typer.Option(help="Whether a large owner weighs more.")] = "rows",
    write: Annotated[
        Path | None, typer.Option("--write", help="Also write this recipe: the one given, with the bounds agreed on.")
    ] = None,
    report: Page = None,
    json: Json = False,
) -> None:
    """Agree on thresholds for all owners from their sketches, and say how much they share.

    Owners send their sketches here, the recipe with its bounds goes back to them, and each runs it at home: no text
    moves. This needs neither the texts nor the secret, and the order of the sketches does not matter. Texts that
    several owners have are dropped with `plait data joint`.
    """
    from plait.cli.data.curate import job_of
    from plait.cli.data.suggested import recipe_with_settings, refuse_existing
    from plait.core.figures import StageReport
    from plait.data.plan import read_ops
    from plait.data.study.agree import agree as settle
    from plait.data.study.report import describe_agreement
    from plait.data.study.sketch import CorpusSketch

    refuse_existing(write)
    ops = read_ops(job_of(recipe, ["unused"], Path("unused.jsonl")).ops)
    found = settle([CorpusSketch.read(path) for path in sketches], ops, rule=rule, voice=voice)
    page = StageReport()
    describe_agreement(found, page)
    _show(found.to_json(), page, report, json=json, title="agreement")
    if write is not None:
        settings = {agreed.filter: agreed.settings for agreed in found.filters}
        recipe_with_settings(recipe, settings, write, headline=page.headline)
        typer.echo(f"wrote {write}; every owner runs: plait data run {write} -d DATA", err=True)


def quality(
    good: Annotated[Path, typer.Argument(help="Texts to learn from: a file or folder of records.")],
    bad: Annotated[Path, typer.Argument(help="Texts of the raw crawl.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The classifier to write.")] = Path("quality.npz"),
    text_key: Annotated[str, typer.Option(help="Field of the text.")] = "text",
    seed: Annotated[int, typer.Option(help="Chooses the texts held out.")] = 0,
    json: Json = False,
) -> None:
    """Train a quality classifier, and measure it on texts held out.

    Hashed words and logistic regression, as published for Data-Juicer. The file is what
    `quality_classifier_filter` reads; its `quality_score` is what `plait data tune` can look at.
    """
    from plait.core.io import read_table
    from plait.data.quality import save, train

    sides = [read_table(path, columns=[text_key]).column(text_key).to_pylist() for path in (good, bad)]
    trained = train(*sides, seed=seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    save(trained.model, out)
    if json:
        print_json({"model": str(out), **trained.model.about})
        return
    typer.echo(f"{out}: precision {trained.precision:.3f}, recall {trained.recall:.3f}, F1 {trained.f1:.3f}")
    typer.echo(f"on {trained.held_out} texts held out of {len(sides[0])} good and {len(sides[1])} bad ones")
    if not trained.settled:
        typer.echo("warning: training did not come to rest: give more texts, or sides that differ more", err=True)


def ask(run: Path) -> WhatIf:
    """The numbers of a study, ready to be asked."""
    from plait.data.curation import Summary
    from plait.data.plan import read_ops
    from plait.data.study.table import StatsTable
    from plait.data.study.what_if import WhatIf

    summary = Summary.open(run)
    return WhatIf.of_recipe(StatsTable.open(summary.folder / "lineage.parquet"), read_ops(summary.job.ops))


def write_recipe(run: Path, settings: Mapping[str, Mapping[str, Any]], path: Path | None, headline: str) -> None:
    """Write the recipe of a run with other settings, if a file is named for it."""
    if path is None:
        return
    from plait.cli.data.suggested import with_settings
    from plait.data.curation import Summary

    summary = Summary.open(run)
    job = with_settings(summary.job, settings, path, headline=headline)
    typer.echo(f"wrote {path}, which exports to {job.export}", err=True)
    typer.echo(f"Next:   plait data run {path}, then plait data diff {summary.folder} {job.folder}", err=True)


def secret_of(path: Path) -> str:
    """What a file holds, blanks around it aside: text, or any bytes.

    Raises:
        UsageError: It is so short that whoever gets a sketch can try all secrets of its length.
    """
    from plait.data.study.keyed import check_secret
    from plait.errors import UsageError

    held = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
    try:
        secret = held.decode()
    except UnicodeDecodeError:
        secret = held.decode("latin-1")
    check_secret(secret)
    if len(held) < _SHORTEST_SECRET:
        raise UsageError(
            f"a secret of {len(held)} bytes can be guessed",
            code="study.no-secret",
            where=str(path),
            hint="let one owner make it: openssl rand -hex 32 > key",
        )
    return secret


def _labels(path: Path) -> dict[str, bool]:
    import csv

    from plait.errors import UsageError

    with path.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if not {"id", "good"} <= set(reader.fieldnames or ()):
            raise UsageError("labels need the columns id and good", code="data.bad-labels", where=str(path))
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        found = dict[str, bool]()
        for number, row in enumerate(reader, 2):
            if row["good"].lower() not in words:
                raise UsageError(
                    f'"{row["good"]}" is neither true nor false', code="data.bad-labels", where=f"{path}:{number}"
                )
            found[row["id"]] = words[row["good"].lower()]
        return found


def _show(found: Any, page: StageReport, report: Path | None, *, json: bool, title: str) -> None:
    if report is not None:
        from plait.core.report import write_page

        report.parent.mkdir(parents=True, exist_ok=True)
        write_page(report, page, title=title, meta="")
    if json:
        print_json(found)
        return
    typer.echo(page.headline)
    for label, value in page.facts.items():
        typer.echo(f"  {label}: {value}")
    for table in (table for table in page.tables if table.rows):
        typer.echo(f"\n{table.title}")
        print_table(table.columns, [[_shown(value) for value in row] for row in table.rows], header=True)
    for warning in [*page.warnings, *page.notes]:
        typer.echo(f"note: {warning}")


def _shown(value: Any) -> Any:
    """Numbers to read; `--json` has all their digits."""
    return f"{value:.6g}" if isinstance(value, float) else value
