"""`plait align score`: log-probabilities and margins of every pair, and the accuracy with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plait.cli.output import Json, examples, print_json, print_table

Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS", help="Records with prompt, chosen and rejected: JSON lines, Parquet, …")
]
Model = Annotated[str, typer.Option("--model", "-m", help="A model's name or folder; see `plait models ls`.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]


def register(app: typer.Typer) -> None:
    """Add this verb to the group."""
    app.command("score", epilog=_SCORE)(score)


_SCORE = examples(
    ("plait align score pairs.jsonl", "how often the default model finds the chosen text likelier"),
    ("plait align score pairs.jsonl --adapter aligned/adapter --reference", "and how far training moved it"),
    ("plait align score pairs.jsonl -o scores.parquet --json", "per pair in a file, in sum for a program"),
)


def score(
    pairs: Pairs,
    *,
    model: Model = "smollm2-135m",
    adapter: Annotated[Path | None, typer.Option(help="A LoRA adapter on the model.")] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Score the model without its adapter too: implicit rewards.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write one row per pair: .parquet, .jsonl, .csv.")
    ] = None,
    max_prompt: Annotated[int, typer.Option(help="Longest prompt, in tokens.", min=1)] = 512,
    max_completion: Annotated[int, typer.Option(help="Longest completion, in tokens.", min=1)] = 512,
    max_bad: Annotated[float, typer.Option(help="Stop if more than this share of the records is bad.")] = 0.1,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Score pairs: log-probabilities, margins, and how often the chosen text is the likelier one."""
    import tempfile

    from plait.align.pairs import TokenLimits
    from plait.cli.data.progress import counting
    from plait.core.io import writable, write_table
    from plait.core.quarantine import Quarantine
    from plait.core.seeds import Seeds
    from plait.flows.align_score import score_file

    if out is not None:
        writable(out)
    with tempfile.TemporaryDirectory() as scratch, counting() as tell:
        # Beside the scores if there are any; what is wrong is counted below in any case.
        place = out.with_suffix(".quarantine.jsonl") if out is not None else Path(scratch) / "quarantine.jsonl"
        quarantine = Quarantine(place)
        found = score_file(
            pairs,
            model=model,
            adapter=adapter,
            reference=reference,
            limits=TokenLimits(max_prompt=max_prompt, max_completion=max_completion),
            quarantine=quarantine,
            device=device,
            on_progress=tell,
        )
        quarantine.check(found.file.given, max_bad_fraction=max_bad, where=str(pairs))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_table(found.table(), out)
    measures = found.measures(Seeds(0))
    if json:
        print_json(
            {
                "pairs": len(found.file.pairs),
                "set aside": quarantine.counts,
                "measures": {name: vars(interval) for name, interval in measures.items()},
                "out": out,
            }
        )
        return
    print_table(["measure", "value (95 % interval)"], [[name, i.text()] for name, i in measures.items()], header=True)
    typer.echo(f"\n{len(found.file.pairs)} pairs" + (f", one row each in {out}" if out else ""))
    for reason, count in quarantine.counts.items():
        typer.echo(f"set aside {count}: {reason}" + (f" (see {place})" if out else ""))
