from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plait.align.noise.injectors import Symmetric
from plait.cli.align import app
from plait.core.seeds import Seeds

RUN = CliRunner()


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    clean = [
        {"id": f"r{n}", "prompt": f"q{n}", "chosen": f"clear and kind {n}", "rejected": f"rude and vague {n}"}
        for n in range(200)
    ]
    path = tmp_path / "pairs.jsonl"
    records = Symmetric(rate=0.2).apply(clean, seeds=Seeds(1)).records
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_examine_read_apply(noisy: Path, tmp_path: Path) -> None:
    relabels, page, cleaned = tmp_path / "relabel.jsonl", tmp_path / "page.html", tmp_path / "clean.jsonl"
    shown = RUN.invoke(app, ["doctor", str(noisy), "-o", str(relabels), "--report", str(page)])
    assert shown.exit_code == 0, shown.output
    assert "Most suspicious pairs" in shown.output
    assert "prefers rejected" in page.read_text()
    applied = RUN.invoke(app, ["doctor", str(noisy), "--apply", str(relabels), "--cleaned", str(cleaned), "--json"])
    assert applied.exit_code == 0, applied.output
    told = json.loads(applied.output)
    mended = [json.loads(line) for line in cleaned.read_text().splitlines()]
    assert told["pairs"] == len(mended)
    assert told["flipped"] > 20
    right = sum(record["chosen"].startswith("clear") for record in mended)
    assert right > 0.97 * len(mended)


def test_json(noisy: Path) -> None:
    shown = RUN.invoke(app, ["doctor", str(noisy), "--json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["pairs"] == 200
    assert 0.1 < told["flip_rate"]["value"] < 0.3
    assert told["advice"]["objective"]["name"] == "dr_dpo"


def test_apply_needs_a_place(noisy: Path) -> None:
    shown = RUN.invoke(app, ["doctor", str(noisy), "--apply", str(noisy)])
    assert shown.exit_code != 0
    assert "belong together" in str(shown.exception)


def test_a_flip_rate_of_a_half_is_refused() -> None:
    shown = RUN.invoke(app, ["bench-noise", "--rates", "0,0.5"])
    assert shown.exit_code != 0
    assert "below 0.5" in str(shown.exception)


@pytest.mark.slow
def test_the_bench_prints_a_table() -> None:
    shown = RUN.invoke(
        app, ["bench-noise", "--seeds", "1", "--pairs", "64", "--epochs", "1", "--rates", "0.4", "--json"]
    )
    assert shown.exit_code == 0, shown.output
    assert len(json.loads(shown.output)["cells"]) == 9
