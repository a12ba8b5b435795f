"""`plait`: one command, few verbs. Each verb is a file here; its heavy imports happen when it is called."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import plait
from plait.cli import align, catalog, data, llm, models, recipes, runs
from plait.cli.output import examples

app = typer.Typer(
    name="plait",
    help="From raw text to an aligned model and to the agents that run on it.",
    epilog=examples(
        ("plait run quickstart", "the whole loop on this machine, in minutes"),
        ("plait ls", "what recipes can use, the shipped recipes, and the runs here"),
        ("plait new quickstart my.yaml", "a recipe of your own"),
        ("plait watch last", "follow a run from another terminal"),
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (recipes, runs, catalog):
    part.register(app)
app.add_typer(data.app, name="data", rich_help_panel="Strands")
app.add_typer(align.app, name="align", rich_help_panel="Strands")
app.add_typer(models.app, name="models", rich_help_panel="Parts")
app.add_typer(llm.app, name="llm", rich_help_panel="Parts")


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"plait {plait.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """From raw text to an aligned model and to the agents that run on it."""
    del version


def main() -> None:
    """Run the command line; deliberate errors become one line and their exit status."""
    import gc

    from plait.errors import PlaitError

    # Imports and parsed records are many objects and no garbage: looking through them took a tenth of a short run.
    gc.set_threshold(50_000, 20, 50)

    try:
        app(prog_name="plait")
    except PlaitError as error:
        for problem in getattr(error, "problems", None) or [error]:
            typer.echo(f"error: {problem}", err=True)
        sys.exit(error.exit_status)
    finally:
        # The interpreter looks for garbage twice before it ends: 0.4 s with a data run's imports. Torch's compilers
        # need that: they complain of all that is left.
        if "torch" not in sys.modules:
            gc.freeze()
