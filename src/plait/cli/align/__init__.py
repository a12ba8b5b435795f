"""`plait align`: train on preference pairs, measure, and find wrong labels, without a recipe."""

from __future__ import annotations

import typer

from plait.cli.align import calibrate, noise, score, train
from plait.cli.output import examples

app = typer.Typer(
    help="Train on preference pairs, measure, find wrong labels.",
    epilog=examples(
        ("plait align train pairs.jsonl -o aligned", "a LoRA adapter by DPO, measured on pairs held out"),
        ("plait align score pairs.jsonl --adapter aligned/adapter", "log-probabilities and margins of every pair"),
        ("plait align doctor pairs.jsonl", "how many labels look wrong, and which"),
        ("plait align calibrate answers.jsonl", "how well stated confidences fit what was right"),
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for part in (train, score, noise, calibrate):
    part.register(app)
