"""`plait data joint`: owners drop the texts that several of them have, without showing any."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.data.rejects import tell, temporary
from plait.cli.data.study import Dataset, Recipe, secret_of
from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    import polars as pl

    from plait.core.quarantine import Quarantine
    from plait.data.curation import CurationJob
    from plait.data.study.joint import OwnerPart

_KEYS = examples(
    (
        "plait data joint keys recipe.yaml -d north.jsonl --owner north --secret-file key -o north.keys",
        "at each owner's",
    ),
)
_PLAN = examples(
    ("plait data joint plan north.keys south.keys -o plan", "whoever has all keys; best without the secret")
)
_APPLY = examples(
    ("plait data joint apply recipe.yaml plan/north.json -d north.jsonl -o north-own.jsonl", "at each owner's again"),
)


def register(app: typer.Typer) -> None:
    """Add these verbs to the group."""
    group = typer.Typer(
        help="Drop the texts that several owners have: keys at each owner's, one plan, which each applies at home.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    group.command("keys", epilog=_KEYS)(keys)
    group.command("plan", epilog=_PLAN)(plan)
    group.command("apply", epilog=_APPLY)(apply)
    app.add_typer(group, name="joint")


def keys(
    recipe: Recipe,
    *,
    owner: Annotated[str, typer.Option(help="Your name among the owners.")],
    secret_file: Annotated[
        Path, typer.Option(help="File with a secret that the owners share.", exists=True, dir_okay=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The keys to write.")],
    dataset: Dataset = None,
    json: Json = False,
) -> None:
    """Write keyed hashes of each text: who has no secret learns from them which texts are alike, and no more.

    The recipe says how the dataset is read; its operations do not run. Keys tell of single rows, so they are nothing
    for owners who add noise to their sketches.
    """
    from plait.cli.data.curate import job_of
    from plait.data.study.joint import owner_keys

    job = job_of(recipe, dataset)
    secret = secret_of(secret_file)
    with temporary() as quarantine:
        made = owner_keys(job.batches(quarantine), owner=owner, secret=secret, text_key=job.text_key)
        tell(quarantine.counts)
    out.parent.mkdir(parents=True, exist_ok=True)
    made.write(out)
    if json:
        print_json({"keys": str(out), "bytes": out.stat().st_size, "rows": len(made.documents)})
        return
    typer.echo(f"{out}: {out.stat().st_size:,} bytes about {len(made.documents):,} rows")


def plan(
    key_files: Annotated[
        list[Path], typer.Argument(metavar="keys...", help="The keys of each owner.", exists=True, dir_okay=False)
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for a file per owner.")],
    keep: Annotated[
        Literal["spread", "first"],
        typer.Option(help="Who keeps a text: shared out among those who have it, or the first owner by name."),
    ] = "spread",
    json: Json = False,
) -> None:
    """Plan who keeps each text that several owners have, or one has twice, from their keys alone.

    Near duplicates are candidates: nobody compares the texts, as no owner may see another's.
    """
    from plait.core.folder import write_json
    from plait.data.study.joint import OwnerKeys, plan_dedup

    found = plan_dedup([OwnerKeys.read(path) for path in key_files], keep=keep)
    files = _names(list(found.owners))
    out.mkdir(parents=True, exist_ok=True)
    for owner, part in found.owners.items():
        write_json(out / files[owner], {"owner": owner, **part.to_json()})
    told = {o: {"rows": p.rows, "drops": len(p.drop), "plan": str(out / files[o])} for o, p in found.owners.items()}
    if json:
        print_json({"clusters": found.clusters, "across": found.across, "owners": told})
        return
    typer.echo(f"{found.clusters:,} sets of alike texts, {found.across:,} of them with several owners")
    rows = [[o, f"{t['rows']:,}", f"{t['drops']:,}", t["plan"]] for o, t in told.items()]
    print_table(["owner", "rows", "drops", "send them"], rows, header=True)


def apply(
    recipe: Recipe,
    part: Annotated[Path, typer.Argument(help="Your file of the plan.", exists=True, dir_okay=False)],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: the rows that you keep.")],
    dataset: Dataset = None,
    json: Json = False,
) -> None:
    """Write the rows of a dataset that a plan leaves with their owner.

    The dataset must be the one that the keys were made of, read by the same recipe: rows are known by their places.
    """
    from plait.cli.data.curate import job_of
    from plait.data.write import write_rows

    job, mine = job_of(recipe, dataset), _part(part)
    with temporary() as quarantine:
        # Looked at before anything is written: rows are known by their places alone.
        count = sum(len(batch) for batch in job.batches(quarantine))
        _check_rows(part, mine, count)
    with temporary() as quarantine:
        kept = write_rows(_kept(job, mine.drop, quarantine), out)
        tell(quarantine.counts)
    if json:
        print_json({"export": str(out), "rows": count, "kept": kept})
        return
    typer.echo(f"kept {kept:,} of {count:,}: {out}")


def _kept(job: CurationJob, drop: Sequence[int], quarantine: Quarantine) -> Iterator[pl.DataFrame]:
    import numpy as np
    import polars as pl

    gone, first = np.asarray(drop, np.int64), 0
    for batch in job.batches(quarantine):
        stays = np.ones(len(batch), np.bool_)
        stays[gone[(gone >= first) & (gone < first + len(batch))] - first] = False
        first += len(batch)
        yield batch.frame.filter(pl.Series(stays)).select(c for c in batch.frame.columns if not c.startswith("__"))


def _part(path: Path) -> OwnerPart:
    import orjson
    from pydantic import ValidationError

    from plait.data.study.joint import OwnerPart
    from plait.errors import DataError

    try:
        told: Any = orjson.loads(path.read_bytes())
        return OwnerPart.model_validate({name: value for name, value in told.items() if name != "owner"})
    except (ValueError, AttributeError, ValidationError) as error:
        raise DataError("this is no part of a plan", code="study.bad-plan", where=str(path)) from error


def _check_rows(path: Path, part: OwnerPart, rows: int) -> None:
    from plait.errors import DataError

    if rows != part.rows or (part.drop and not 0 <= min(part.drop) <= max(part.drop) < rows):
        raise DataError(
            f"the plan is of {part.rows:,} rows, the dataset has {rows:,}",
            code="study.bad-plan",
            where=str(path),
            hint="read the dataset that the keys were made of, by the same recipe",
        )


def _names(owners: Sequence[str]) -> dict[str, str]:
    """A file name for each owner; what they call themselves comes from elsewhere and leads to no other folder."""
    found = dict[str, str]()
    for owner in owners:
        plain = re.sub(r"[^\w-]+", "-", owner).strip("-") or "owner"
        name = f"{plain}.json"
        found[owner] = name if name not in found.values() else f"{plain}-{len(found) + 1}.json"
    return found
