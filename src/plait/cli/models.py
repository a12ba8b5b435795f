"""`plait models`: the language models Plait knows by name."""

from __future__ import annotations

from typing import Annotated

import typer

from plait.cli.output import Json, examples, print_json, print_table

app = typer.Typer(help="List and fetch language models.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command("ls", epilog=examples(("plait models ls --json", "for a program")))
def ls(*, json: Json = False) -> None:
    """List the models known by name, and which are ready here."""
    from plait.models import list_models

    rows = list_models()
    if json:
        print_json([row.__dict__ for row in rows])
        return
    print_table(["name", "state", "size", "what it is"], [[r.name, r.state, r.size, r.summary] for r in rows])


@app.command("get", epilog=examples(("plait models get smollm2-135m", "converts the packaged weights once")))
def get(
    name: Annotated[str, typer.Argument(help="A known name, a hub id, a folder or a .gguf file.")],
    *,
    json: Json = False,
) -> None:
    """Make a model ready to use: fetch or convert it once into the cache."""
    from plait.models import get_model

    ready = get_model(name)
    if json:
        print_json(ready.__dict__)
        return
    typer.echo(f"{ready.name}: {ready.state}, {ready.size}, in {ready.path}")
