"""docs/align.md is kept true: its commands, snippets and recipes run, its tables say what the source says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from align.test_verdicts import healthy
from align.tiny_models import save_tiny_language_model
from flows.test_align import write_pairs
from plait.align.verdicts import Thresholds, judge
from plait.models.source import ModelSource, resolve

PAGE = (Path(__file__).parents[2] / "docs" / "align.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DEFAULT = "smollm2-135m"


def blocks(language: str, kind: str = "") -> list[str]:
    return [text for found, marks, text in BLOCKS if found == language and marks.strip() == kind]


COMMANDS = [line for text in blocks("console") for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_language_model(tmp_path_factory.mktemp("tiny"))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pairs, in which the default model's name means a tiny one."""

    def found(name: str) -> ModelSource:
        return resolve(str(tiny) if name == DEFAULT else name)

    for module in ("plait.models", "plait.models.source", "plait.models.language_model"):
        __import__(module)
        if hasattr(sys.modules[module], "resolve"):
            monkeypatch.setattr(f"{module}.resolve", found)
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    write_pairs(tmp_path / "pairs.parquet", 40)
    import pyarrow as pa
    import pyarrow.parquet as pq

    from plait.core.io import write_table

    write_table(pq.read_table(tmp_path / "pairs.parquet"), tmp_path / "pairs.jsonl")
    answers = [{"confidence": n % 10 / 10, "correct": n % 3 != 0} for n in range(60)]
    write_table(pa.Table.from_pylist(answers), tmp_path / "answers.jsonl")
    return tmp_path


def plait(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    from plait.cli.main import main

    monkeypatch.setattr(sys, "argv", ["plait", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, arguments


def test_no_block_is_of_a_kind_that_is_not_run():
    assert {(language, marks.strip()) for language, marks, _ in BLOCKS} <= {
        ("python", ""),
        ("python", "trl"),
        ("python", "excerpt"),
        ("console", ""),
        ("console", "excerpt"),
        ("yaml", ""),
        ("text", "measured"),
    }


def test_every_command_runs(here, monkeypatch, capsys):
    """In the order of the page, since later ones read what earlier ones wrote."""
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        name, *arguments = shlex.split(command)
        assert name == "plait"
        if arguments[0] == "run":  # its models are named by a variable; 40 tiny pairs are what there is
            arguments += [f"{run}.steps=2" for run in ("dpo", "beta_dpo", "dr_dpo")]
        plait(monkeypatch, *arguments)
    shown = capsys.readouterr().out
    assert "Held-out pairs before and after" in shown
    assert "Methods compared" in shown
    assert (here / "aligned" / "adapter" / "adapter_model.safetensors").exists()
    assert (here / "scores.parquet").exists()


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_snippet_runs(here, number, capsys):
    exec(compile(blocks("python")[number], f"docs/align.md, snippet {number}", "exec"), {"__name__": "snippet"})
    promised = re.findall(r"print\(.*\)  # (.+)$", blocks("python")[number], re.MULTILINE)
    shown = capsys.readouterr().out.splitlines()
    assert all(line in shown for line in promised)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_the_snippet_for_trl_runs(here):
    pytest.importorskip("trl")
    [snippet] = blocks("python", "trl")
    exec(compile(snippet, "docs/align.md, TRL", "exec"), {"__name__": "snippet"})


@pytest.mark.parametrize("number", range(len(blocks("yaml"))))
def test_every_recipe_runs(here, number, monkeypatch):
    (here / "recipe.yaml").write_text(blocks("yaml")[number], encoding="utf-8")
    plait(monkeypatch, "run", "recipe.yaml")


def table_after(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_of_verdicts_is_complete():
    rows = table_after("Verdicts")
    assert {row[0] for row in rows} == {verdict.name for verdict in judge(healthy())}
    named: dict[str, str] = {}
    for row in rows:
        named |= dict.fromkeys(re.findall(r"`(\w+)`", row[3]), row[2])
    assert set(named) == set(Thresholds.model_fields)
    for setting, told in named.items():
        value: Any = getattr(Thresholds(), setting)
        assert re.search(rf"(?<![\d.]){value:g}(?![\d.]\d)", told) or f"{value:.0%}".rstrip("%") in told, setting


def test_the_scorers_are_all_there():
    from plait.align.winrate import FunctionScorer, Judge, RewardModel

    kinds = [FunctionScorer, RewardModel, Judge]
    assert [row[0] for row in table_after("Evaluation")] == [f"`{kind.model_fields['name'].default}`" for kind in kinds]


def test_the_table_of_objectives_is_complete():
    """Every part by its name, and every setting of it, read from the source."""
    from plait.align import beta_rules, presets, reduction, selection

    unions = {"method": presets.Preset, "loss": presets.Loss, "beta": beta_rules.Beta}
    unions |= {"select": selection.Select, "reduce": reduction.Reduce}
    part = ""
    told: dict[str, dict[str, set[str]]] = {}
    for cells in table_after("Objectives"):
        part = cells[0].strip("`") or part
        told.setdefault(part, {})[cells[1].strip("`")] = set(re.findall(r"`(\w+)`", cells[3]))
    assert told == {
        name: {
            kind.model_fields["name"].default: set(kind.model_fields) - {"name"}
            for kind in get_args(get_args(union)[0])
        }
        for name, union in unions.items()
    }
