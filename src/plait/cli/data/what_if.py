"""`plait data what-if`: what other thresholds would keep, asked of the numbers of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.data.study import NewRecipe, Run, ask, write_recipe
from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from plait.data.study.what_if import BorderRow, Share, WhatIf


def register(app: typer.Typer) -> None:
    """Add this verb to the group."""
    app.command("what-if", epilog=_WHAT_IF)(what_if)


_WHAT_IF = examples(
    ("plait data run recipe.yaml -o clean.jsonl --study", "first: measures every row"),
    ("plait data what-if clean.run", "what each filter drops, and what no other filter would"),
    ("plait data what-if clean.run text_length_filter.min_len=300", "what is kept then, and the rows next to 300"),
    ("plait data what-if clean.run alphanumeric_filter.min_ratio=0.7 -n 40 --json", "40 rows to judge, for labels"),
    ("plait data what-if clean.run text_length_filter.min_len=300 --write longer.yaml", "a recipe that runs so"),
)


def what_if(
    run: Run,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="filter.setting=value", help="Settings to change, e.g. text_length_filter.min_len=300."),
    ] = None,
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="Rows to show next to the thresholds.", min=0)] = 6,
    write: NewRecipe = None,
    json: Json = False,
) -> None:
    """Say what other thresholds would keep; nothing is measured again, so it takes milliseconds.

    Shows rows, characters and tokens kept, source by source, and the rows next to the thresholds that change, on
    either side: look at them before you move one. Duplicates are not decided again: the figures are those of filters.
    """
    from plait.cli.data.suggested import refuse_existing

    refuse_existing(write)
    asked = ask(run)
    settings = _settings(run, asked, changes or ())
    then = asked.with_settings(settings)
    before, after = asked.keep(), then.keep()
    border = [row for name in settings for row in _border(then, name, count)]
    overlap = then.overlap()
    if json:
        told = {"before": before.to_json(), "after": after.to_json(), "overlap": overlap.to_json()}
        print_json({**told, "settings": settings, "border": [{"filter": n, **row.to_json()} for n, row in border]})
    else:
        typer.echo(_headline(before.overall, after.overall))
        if after.sources:
            typer.echo("")
            rows = [
                [name or "(no source)", f"{s.rows:,}", f"{before.sources[name].kept:,}", f"{s.kept:,}", _percent(s)]
                for name, s in sorted(after.sources.items(), key=lambda found: -found[1].rows)
            ]
            print_table(["source", "rows", "kept now", "kept then", "% of rows"], rows, header=True)
        typer.echo("")
        drops = zip(overlap.names, overlap.dropped, overlap.alone, strict=True)
        print_table(
            ["filter", "drops", "that no other drops"], [[n, f"{a:,}", f"{b:,}"] for n, a, b in drops], header=True
        )
        if border:
            typer.echo("")
            near = [
                [n, row.id, row.source, f"{row.value:.6g}", f"{row.threshold:.6g}", "kept" if row.kept else "dropped"]
                for n, row in border
            ]
            print_table(["next to the threshold of", "id", "source", "value", "threshold", "it is"], near, header=True)
        for name, rows in asked.gone.items():
            typer.echo(f"note: {name} measures nothing, so the {rows.sum():,} rows it dropped stay dropped")
    write_recipe(run, settings, write, _headline(before.overall, after.overall))


def _settings(run: Any, asked: WhatIf, changes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By filter: the settings to change."""
    from plait.core.yaml import parse_value
    from plait.data.curation import Summary
    from plait.data.plan import read_ops
    from plait.data.study.criteria import pick
    from plait.errors import UsageError

    ops = Summary.open(run).job.ops
    found = dict[str, dict[str, Any]]()
    for text in changes:
        key, equals, value = text.partition("=")
        name, dot, field = key.rpartition(".")
        if not (equals and dot):
            raise UsageError(f'"{text}" is no change', code="data.bad-settings", hint="write filter.setting=value")
        setting = ops[pick(asked.filters, name).index]
        plain, given = (setting, None) if isinstance(setting, str) else next(iter(setting.items()))
        changed = {**found.get(name, {}), field: parse_value(value)}
        read_ops([{plain: {**(given or {}), **changed}}])
        found[name] = changed
    return found


def _border(then: WhatIf, name: str, count: int) -> list[tuple[str, BorderRow]]:
    from plait.data.op import RangeFilter
    from plait.data.study.criteria import pick, thresholds

    criterion = pick(then.filters, name)
    if not count or not isinstance(criterion.op, RangeFilter) or not then.table.is_number(criterion.number):
        return []
    place = thresholds(criterion.op)
    return [] if place.low is None and place.high is None else [(name, row) for row in then.border(name, count=count)]


def _headline(before: Share, after: Share) -> str:
    parts = [f"keeps {after.kept:,} of {after.rows:,} rows ({_percent(after)} %), now {before.kept:,}"]
    for what, now, then in (
        ("characters", before.chars_kept, after.chars_kept),
        ("tokens", before.tokens_kept, after.tokens_kept),
    ):
        if now is not None and then is not None:
            parts.append(f"{then:,} {what}, now {now:,}")
    return "; ".join(parts)


def _percent(share: Share) -> str:
    return f"{100 * share.rate:.1f}"
