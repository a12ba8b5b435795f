"""`plait data index`: what earlier releases hold, so that later ones do not repeat it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plait.cli.data.rejects import tell, temporary
from plait.cli.output import Json, examples, print_json, print_table

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.dedup.index import Index

_BLOCK_BYTES = 64 << 20  # each becomes a run of the index: few of them, and some hundred megabytes of memory

Folder = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]
TextKey = Annotated[str, typer.Option(help="Field of the text.")]


def register(app: typer.Typer) -> None:
    """Add this group to the group."""
    group = typer.Typer(help="Keep an index of near duplicates.", no_args_is_help=True, rich_markup_mode="markdown")
    group.command("add", epilog=_ADD)(add)
    group.command("find", epilog=_FIND)(find)
    group.command("show", epilog=_SHOW)(show)
    app.add_typer(group, name="index", epilog=_ALL)


_ADD = examples(
    ("plait data index add seen.index 2026-05.jsonl", "release 2026-05; makes the index if there is none"),
    ("plait data index add seen.index shards/ --release 2026-06", "a folder as one release"),
    ("plait data index add zh.index zh.jsonl --tokenization character", "for text without blanks"),
)
_FIND = examples(
    ("plait data index find seen.index pages.jsonl", "rows that are like something released"),
    ("plait data index find seen.index 2026-06.jsonl --before 2026-06 -o like.parquet", "older ones; all into a file"),
)
_SHOW = examples(("plait data index show seen.index", "releases, settings and size"))
_ALL = examples(
    ("plait data index add seen.index 2026-05.jsonl", "keep what a release holds"),
    ("plait data index find seen.index pages.jsonl", "what of this was released"),
)


def add(
    index: Folder,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or addresses of records.")],
    *,
    release: Annotated[str | None, typer.Option(help="Name of the release; that of each file by default.")] = None,
    text_key: TextKey = "text",
    threshold: Annotated[
        float | None,
        typer.Option(help="For a new index: least Jaccard similarity found, 0.7 by default.", min=0.05, max=1),
    ] = None,
    tokenization: Annotated[
        Literal["space", "punctuation", "character", "word"] | None,
        typer.Option(help="For a new index: what a token is, `space` by default."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(help="For a new index: tokens per shingle, 5 by default.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Add documents to an index, which is made if there is none."""
    grown: Index | None = None
    before = 0
    for one in data:
        for batch in _batches(one, text_key):
            if grown is None:  # only now: data that cannot be read leaves no empty index
                grown = _opened(index, threshold, tokenization, window)
                before = grown.count
            grown = grown.add(batch, release=release or _name(one), text_key=text_key)
    assert grown is not None  # data without a record is an error
    if json:
        print_json({"index": str(index), "added": grown.count - before, **_facts(grown)})
        return
    typer.echo(f"{index}: {grown.count - before:,} documents more, {grown.count:,} in all")
    typer.echo(f"Next:   plait data index find {index} DATA, or `- index_deduplicator: {{path: {index}}}` in a recipe")


def find(
    index: Folder,
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or addresses of records.")],
    *,
    before: Annotated[str | None, typer.Option(help="Look at releases named lower than this only.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write all matches to this file.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="Matches to show; --json and --out have all.")] = 20,
    text_key: TextKey = "text",
    json: Json = False,
) -> None:
    """Find documents of an index that are like rows of other data."""
    import polars as pl

    from plait.core.io import write_table
    from plait.data.dedup.index import MATCHES, Index

    opened = Index.open(index)
    found = [pl.DataFrame(schema={"of": pl.String} | MATCHES)]
    rows = alike = 0
    for one in data:
        for batch in _batches(one, text_key):
            matches = opened.find(batch, text_key=text_key, before=before)
            ids = batch.column("id").cast(pl.String).gather(matches["row"])
            found.append(matches.insert_column(0, ids.alias("of")))
            rows += len(batch)
            alike += matches["row"].n_unique()
    every = pl.concat(found).drop("row").rename({"of": "id", "id": "like"})
    every = every.sort("jaccard", descending=True, maintain_order=True)
    if out is not None:
        write_table(every.to_arrow(compat_level=pl.CompatLevel.oldest()), out)
    if json:
        print_json({"rows": rows, "alike": alike, "matches": every.to_dicts()})
        return
    if every.height:
        shown = every.head(count).with_columns(pl.col("jaccard", "containment").round(4))
        print_table(shown.columns, [list(row) for row in shown.iter_rows()], header=True)
        if every.height > count:
            typer.echo(f"… and {every.height - count:,} matches more: see them all with -o FILE or --json")
        typer.echo()
    typer.echo(f"{alike:,} of {rows:,} rows are like a document of {index}")


def show(index: Folder, *, json: Json = False) -> None:
    """Say what an index holds, how it compares, and how large it is."""
    from plait.data.dedup.index import Index

    facts = _facts(Index.open(index))
    if json:
        print_json({"index": str(index), **facts})
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {', '.join(value) if isinstance(value, list) else _words(value)}")


def _opened(folder: Path, threshold: float | None, tokenization: Any, window: int | None) -> Index:
    """The index, made if there is none; what is asked of a new one must hold for an old one."""
    from plait.data.dedup.index import Index
    from plait.data.dedup.tokens import Shingling
    from plait.errors import DataError, UsageError

    if not (folder / "manifest.json").exists():
        shingling = Shingling(tokenization or "space", window or 5)
        try:
            return Index.create(folder, shingling=shingling, threshold=0.7 if threshold is None else threshold)
        except DataError as error:
            if error.code != "data.index-exists":  # another process has just made it
                raise
    index = Index.open(folder)
    has = index.settings.shingling
    for name, asked, found in (
        ("threshold", threshold, index.settings.threshold),
        ("tokenization", tokenization, has.tokenization),
        ("window", window, has.window),
    ):
        if asked is not None and asked != found:
            raise UsageError(
                f"the index has {name} {found}, not {asked}",
                code="data.index-settings",
                where=str(folder),
                hint="these stay as they are as long as an index grows; leave it out, or make another index",
            )
    return index


def _batches(data: str, text_key: str) -> Iterator[Batch]:
    from typing import cast

    import polars as pl

    from plait.data.batch import Batch
    from plait.data.read import blocks

    with temporary() as quarantine:
        for block in blocks(data, block_bytes=_BLOCK_BYTES, text_key=text_key):
            yield Batch.of(cast("pl.DataFrame", pl.from_arrow(block.load(quarantine))))
        tell(quarantine.counts)


def _name(data: str) -> str:
    """`2026-05` of ``releases/2026-05.jsonl.zst``."""
    return Path(data).name.split(".")[0]


def _facts(index: Index) -> dict[str, Any]:
    settings = index.settings
    return {
        "documents": index.count,
        "releases": index.releases,
        "threshold": settings.threshold,
        "tokenization": settings.shingling.tokenization,
        "window": settings.shingling.window,
        "bands": settings.bands,
        "rows per band": settings.rows,
        "bytes": _size(index.folder),
    }


def _size(folder: Path) -> int:
    """Bytes of all files; others may be adding and removing some meanwhile."""
    total = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(inside, name).stat().st_size
    return total


def _words(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value}"
