"""`plait`: one command, few verbs. Each verb is a file here; its heavy imports happen when it is called."""

from __future__ import annotations

import sys

import typer

from plait.cli import catalog, llm, models, recipes, runs

app = typer.Typer(
    name="plait",
    help="From raw text to an aligned model and to the agents that run on it.",
    epilog=(
        "Examples: `plait run quickstart` the whole loop on this machine · "
        "`plait ls stage` what recipes can use · `plait new quickstart` a recipe of your own · "
        "`plait watch last` follow a run"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (recipes, runs, catalog):
    part.register(app)
app.add_typer(models.app, name="models")
app.add_typer(llm.app, name="llm")


def main() -> None:
    """Run the command line; deliberate errors become one line and their exit status."""
    from plait.errors import PlaitError

    try:
        app()
    except PlaitError as error:
        for problem in getattr(error, "problems", None) or [error]:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted; `plait resume last` goes on from here", file=sys.stderr)
        sys.exit(130)
