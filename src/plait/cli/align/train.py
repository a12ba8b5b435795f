"""`plait align train`: the stage `align.preference` without a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait.cli.align.score import Device, Model, Pairs
from plait.cli.output import Json, examples, print_json, print_tables

if TYPE_CHECKING:
    from plait.flows.align import Preference
    from plait.flows.align_result import PreferenceResult


def register(app: typer.Typer) -> None:
    """Add this verb to the group."""
    app.command("train", epilog=_TRAIN)(train)


_TRAIN = examples(
    ("plait align train pairs.jsonl -o aligned", "DPO with a LoRA adapter; a tenth of the pairs is held out"),
    ("plait align train pairs.jsonl --objective dr_dpo --epochs 1 -o aligned", "a method by name, one pass"),
    (
        'plait align train pairs.jsonl --objective "{name: beta_dpo, alpha: 0.4, loss: {name: ipo}}"',
        "a method with its settings, as in a recipe",
    ),
    ("plait align train pairs.jsonl --heldout test.jsonl --sample 16", "KL to the reference on samples, too"),
    ("plait align train pairs.jsonl --full --lr 5e-7 --device cuda", "all weights, on a GPU"),
)


def train(
    pairs: Pairs,
    *,
    model: Model = "smollm2-135m",
    objective: Annotated[
        str,
        typer.Option(help="dpo, beta_dpo, dr_dpo, …, or YAML with settings; see `plait show align.preference`."),
    ] = "dpo",
    heldout: Annotated[
        str, typer.Option(help="Pairs that are only measured on: a file, or the share of PAIRS to hold out.")
    ] = "0.1",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps; 36 where neither is said.", min=1)] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the pairs, in place of steps.")] = None,
    batch: Annotated[int, typer.Option(help="Pairs per step.", min=1)] = 4,
    micro_batch: Annotated[
        int | None, typer.Option(help="Pairs per forward pass: less memory, same result.", min=1)
    ] = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    warmup: Annotated[int, typer.Option(help="Steps until the peak.", min=0)] = 0,
    lora_rank: Annotated[int, typer.Option(help="Rank of the adapter.", min=1)] = 8,
    full: Annotated[bool, typer.Option("--full", help="Train all weights instead of an adapter.")] = False,
    max_grad_norm: Annotated[float, typer.Option(help="Gradients are scaled down to this norm; 0 leaves them.")] = 1.0,
    bf16: Annotated[bool, typer.Option("--bf16", help="Run the model in bfloat16; for GPUs.")] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time, same gradients.")
    ] = False,
    max_prompt: Annotated[int, typer.Option(help="Longest prompt, in tokens.", min=1)] = 512,
    max_completion: Annotated[int, typer.Option(help="Longest completion, in tokens.", min=1)] = 512,
    measure: Annotated[int, typer.Option(help="At most so many held-out pairs are measured.", min=1)] = 64,
    sample: Annotated[int, typer.Option(help="Held-out prompts to continue, for KL and lengths.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Order of the pairs, start of the adapter, held-out share.")] = 0,
    max_bad: Annotated[float, typer.Option(help="Stop if more than this share of the records is bad.")] = 0.1,
    device: Device = "cpu",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; an unfinished run in it goes on.")] = Path(
        "aligned"
    ),
    json: Json = False,
) -> None:
    """Train on preference pairs, and measure before and after on pairs held out."""
    lora = {"rank": lora_rank, "alpha": 2 * lora_rank, "targets": ["q_proj", "k_proj", "v_proj", "o_proj"]}
    length: dict[str, Any] = {} if steps is None else {"steps": steps}
    if epochs is not None:
        length["epochs"] = epochs
    stage = _stage(
        {
            "pairs": pairs,
            "model": model,
            "objective": _objective(objective),
            "batch_size": batch,
            "micro_batch_size": micro_batch,
            "learning_rate": lr,
            "warmup_steps": warmup,
            "max_grad_norm": max_grad_norm,
            "bf16": bf16,
            "gradient_checkpointing": gradient_checkpointing,
            "lora": None if full else lora,
            "limits": {"max_prompt": max_prompt, "max_completion": max_completion},
            "measure": measure,
            "sample": sample,
            "max_bad_fraction": max_bad,
            "device": device,
        }
        | length
        | _heldout(heldout)
    )
    result = _run(stage, out, seed=seed)
    if json:
        print_json(result.summary() | {"folder": str(out)})
        return
    _print(result)
    for reason, count in result.set_aside.items():
        typer.echo(f"set aside {count}: {reason} (see {out / 'quarantine.jsonl'})")
    typer.echo(f"\n{'Model' if full else 'Adapter'}: {out / 'adapter'}\nReport:  {out / 'report.html'}")
    if not full:
        typer.echo(f"Next:    plait align score {pairs} --model {model} --adapter {out / 'adapter'} --reference")


def _objective(text: str) -> dict[str, Any]:
    """A name, or YAML of a mapping with a name."""
    from plait.core.yaml import parse_value
    from plait.errors import RecipeError, UsageError

    try:
        value = parse_value(text)
    except RecipeError as error:
        raise UsageError(
            error.message, code="align.bad-settings", where=f"--objective {text}", hint="write {name: dpo, beta: 0.2}"
        ) from error
    return value if isinstance(value, dict) else {"name": text}


def _heldout(text: str) -> dict[str, Any]:
    """A share between 0 and 1, or else a file."""
    try:
        return {"heldout_share": float(text)}
    except ValueError:
        return {"heldout": Path(text)}


def _stage(settings: dict[str, Any]) -> Preference:
    from pydantic import ValidationError

    from plait.errors import UsageError
    from plait.flows.align import Preference

    for path in (settings["pairs"], settings.get("heldout")):
        if path is not None and not path.is_file():
            raise UsageError("no such file", code="align.no-such-file", where=str(path))
    try:
        return Preference.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise UsageError(
            problems, code="align.bad-settings", hint="see `plait show align.preference` for names and settings"
        ) from error


def _run(stage: Preference, folder: Path, *, seed: int) -> PreferenceResult:
    """Run the stage in a folder, from its last checkpoint if it was killed there."""
    import shutil

    from plait.core.events import EventLog
    from plait.core.progress import terminal_view
    from plait.core.report import write_page
    from plait.core.seeds import Seeds
    from plait.core.stage import StageContext
    from plait.errors import UsageError
    from plait.flows.align_result import PreferenceResult

    if (folder / "result.json").exists():
        raise UsageError(
            "the folder holds a finished run", code="align.folder-taken", where=str(folder), hint="name another with -o"
        )
    stage.checkable()
    folder.mkdir(parents=True, exist_ok=True)
    log = EventLog()
    context = StageContext(
        folder=folder, seeds=Seeds(seed), engine=None, name="train", outputs=type(stage).outputs, events=log
    )
    try:
        with terminal_view() as listener:
            log.listeners.append(listener)
            log.write("run.start", recipe="align", stages=["train"], seed=seed)
            log.write("stage.start", stage="train", use="align.preference")
            stage.run(context)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    write_page(folder / "report.html", context.report, title=folder.name, meta=f"plait align train, seed {seed}")
    return PreferenceResult.model_validate_json((folder / "result.json").read_text(encoding="utf-8"))


def _print(result: PreferenceResult) -> None:
    from plait.flows.align_report import before_and_after, more_tables, told

    print_tables([before_and_after(result.measures), *more_tables(result)])
    worth = [verdict for verdict in result.verdicts if verdict.level != "fine"]
    typer.echo(f"\n{len(result.verdicts) - len(worth)} of {len(result.verdicts)} verdicts are fine; the others:")
    for verdict in worth:
        typer.echo(f"- {told(verdict)}")
