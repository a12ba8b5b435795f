"""Stage align.confidence on a tiny model, and the verb that reads what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from align.tiny_models import save_tiny_language_model
from plait.cli.align import calibrate
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.engines import LocalEngine
from plait.errors import DataError
from plait.flows.confidence import Confidence
from plait.models import LoRA


def stage(questions: Path, model: Path) -> Confidence:
    return Confidence(
        questions=questions,
        model=str(model),
        match="number",
        lora=LoRA(targets=("q_proj", "v_proj")),
        teach_steps=1,
        steps=2,
        batch_size=2,
        max_answer=4,
    )


def context(folder: Path) -> StageContext:
    return StageContext(folder=folder, seeds=Seeds(3), engine=LocalEngine(), outputs=Confidence.outputs)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_stage_measures_before_and_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    model = save_tiny_language_model(tmp_path / "tiny")
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        "".join(json.dumps({"question": f"{n} + 1", "answer": str(n + 1)}) + "\n" for n in range(10)), encoding="utf-8"
    )
    (tmp_path / "stage").mkdir()
    work = context(tmp_path / "stage")
    stage(questions, model).run(work)
    rows = [json.loads(line) for line in work.output("answers").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 3
    assert any(row["confidence"] != row["confidence_before"] for row in rows)
    result = json.loads(work.output("result").read_text(encoding="utf-8"))
    assert set(result) == {"before", "after", "change"}
    assert work.report.figures[0].title == "Reliability"
    assert (work.output("model") / "config.json").exists()

    app = typer.Typer()
    calibrate.register(app)
    page = tmp_path / "page.html"
    told = CliRunner().invoke(app, [str(work.output("answers")), "--json", "-o", str(page)])
    assert told.exit_code == 0, told.output
    after = result["after"]["Brier"]["value"]
    assert json.loads(told.output)["measures"]["Brier"]["value"] == pytest.approx(after)
    assert "<svg" in page.read_text(encoding="utf-8")


def test_too_few_questions(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"question": "1 + 1", "answer": "2"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="cannot be split"):
        stage(questions, tmp_path).run(context(tmp_path))


def test_texts_are_read_and_bad_records_set_aside(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    rows = [
        {"text": "Paris\n### Confidence: 80%", "reference": "paris"},
        {"text": "Rome\n### Confidence: 0.4", "reference": "Paris"},
        {"text": "Rome", "reference": "Paris"},
        {"text": "Rome", "reference": None},
    ]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    app = typer.Typer()
    calibrate.register(app)
    told = CliRunner().invoke(app, [str(answers), "--json", "--max-bad", "0.5"])
    found = json.loads(told.output)
    assert found["statuses"] == {"ok": 2, "no marker": 1}
    assert found["set aside"] == {"neither correct nor answer and reference": 1}
    assert found["measures"]["accuracy"]["value"] == 0.5
    assert found["measures"]["Brier"]["value"] == pytest.approx((0.2**2 + 0.4**2) / 2)
