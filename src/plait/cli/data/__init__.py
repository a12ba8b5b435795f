"""`plait data`: curate files directly, and look at what became of every row."""

from __future__ import annotations

import typer

from plait.cli.data import curate, index, joint, look, study, what_if

_FIRST_STEPS = """**Examples**, in the order of a first day

1. `plait data sample pages.jsonl -n 3`: look at some rows.

2. `plait data run web -d pages.jsonl -o clean.jsonl --study`: run a shipped recipe, and measure everything once.

3. `plait data sample clean.run --dropped-by words_num_filter`: see what an operation dropped, with ids.

4. `plait data why clean.run ID`: see who dropped a row, by how much, and what was changed in it.

5. `plait data suggest clean.run --keep 0.6 --write better.yaml`: find bounds that keep 60 %, as a recipe.

6. `plait data run better.yaml`: run that recipe; it writes better.jsonl.

7. `plait data diff clean.run better.run`: see what the two do differently.
"""

app = typer.Typer(
    help="Curate data: a recipe says what is cleaned, measured and dropped, and every row's fate can be asked for.",
    epilog=_FIRST_STEPS,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for part in (curate, look, what_if, study, joint, index):
    part.register(app)
