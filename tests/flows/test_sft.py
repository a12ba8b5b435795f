"""The stage align.sft on a tiny model: what it writes, that it learns, and that a kill costs nothing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from align.tiny_models import save_tiny_language_model
from flows.stage_runs import run, run_and_kill, steps_told
from plait.align.sft.evaluate import TextScores
from plait.core.figures import StageReport
from plait.core.hashing import hash_path
from plait.core.seeds import Seeds
from plait.errors import DataError, UsageError
from plait.flows.align import Preference
from plait.flows.sft import SFT
from plait.flows.sft_report import MeasuredTexts, describe
from plait.flows.training import Training
from plait.models import load, load_adapter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def write_records(path: Path, count: int, *, bad: int = 0) -> Path:
    """Vowels answer every question."""
    rows = [
        {"id": f"r{n}", "prompt": f"question {n}: ", "completion": "".join("aeiou"[(n * k) % 5] for k in range(1, 9))}
        for n in range(count)
    ]
    for row in rows[:bad]:
        row["completion"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stage(tmp_path: Path, model: Path, **settings: Any) -> SFT:
    asked = {"steps": 10, "batch_size": 4, "learning_rate": 3e-2, "measure": 10, "checkpoint_every": 2} | settings
    return SFT(texts=write_records(tmp_path / "records.jsonl", 40), heldout_share=0.25, model=str(model), **asked)


def test_learns_and_says_so(tmp_path: Path, model: Path) -> None:
    context = run(stage(tmp_path, model), tmp_path / "out")
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert scores.num_rows == 10
    tokens = scores["tokens"].to_numpy()
    before, after = (scores[f"loss_{when}"].to_numpy().sum() / tokens.sum() for when in ("before", "after"))
    assert tokens.tolist() == [9] * 10  # eight letters and the end
    assert after < before - 0.1  # a random model in ten steps
    assert context.report.headline == (
        f"held-out loss {before:.3f} → {after:.3f} nats per token, "
        f"perplexity {np.exp(before):.2f} → {np.exp(after):.2f} (10 texts)"
    )
    assert context.report.facts["texts trained on"] == 30
    losses = [e for e in context.events.memory if e["kind"] == "metric" and e["name"] == "loss"]
    assert [e["step"] for e in losses] == list(range(1, 11))
    assert [figure.title for figure in context.report.figures] == ["Loss", "Change of each held-out text"]
    assert str(tmp_path) not in context.report.model_dump_json()


def test_the_model_loads_and_holds_its_adapter(tmp_path: Path, model: Path) -> None:
    """Merged, it answers as the base with the adapter on it; and another stage can start from it."""
    first = run(stage(tmp_path, model), tmp_path / "out")
    merged = load(str(tmp_path / "out" / "model"))
    adapted = load_adapter(load(str(model)), tmp_path / "out" / "model" / "adapter")
    ids = torch.tensor([merged.encode("question 3: aei")])
    with torch.no_grad():
        torch.testing.assert_close(merged.model(ids).logits, adapted.model(ids).logits, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(merged.model(ids).logits, load(str(model)).model(ids).logits, atol=1e-2)
    again = run(stage(tmp_path, tmp_path / "out" / "model", steps=2), tmp_path / "again")
    left = first.report.facts["held-out loss after, nats per token"]
    assert again.report.facts["held-out loss before, nats per token"] == pytest.approx(left, abs=2e-4)


def test_all_weights_can_be_trained(tmp_path: Path, model: Path) -> None:
    context = run(stage(tmp_path, model, lora=None, learning_rate=1e-2), tmp_path / "out")
    facts = context.report.facts
    assert facts["held-out loss after, nats per token"] < facts["held-out loss before, nats per token"] - 0.3
    assert not (tmp_path / "out" / "model" / "adapter").exists()
    load(str(tmp_path / "out" / "model"))


def test_equal_settings_equal_bytes_and_any_micro_batch(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, steps=3)
    first, second = run(made, tmp_path / "1"), run(made, tmp_path / "2")
    assert hash_path(tmp_path / "1" / "model") == hash_path(tmp_path / "2" / "model")
    assert first.report == second.report
    split = run(made.model_copy(update={"micro_batch_size": 1, "packed": False}), tmp_path / "3")
    name = "held-out loss after, nats per token"
    assert split.report.facts[name] == pytest.approx(first.report.facts[name], abs=2e-3)


def test_settings_of_the_step(tmp_path: Path, model: Path) -> None:
    """A model from a folder; activations computed again are the same; a lower norm and bfloat16 are not."""
    name = "held-out loss after, nats per token"
    plain = run(stage(tmp_path, model, steps=3), tmp_path / "plain")
    made = stage(tmp_path, Path("no-such-model"), steps=3, model_folder=model, gradient_checkpointing=True)
    again = run(made, tmp_path / "again")
    assert hash_path(tmp_path / "again" / "model") == hash_path(tmp_path / "plain" / "model")
    assert again.report == plain.report
    for changed in ({"max_grad_norm": 0.01}, {"bf16": True}):
        folder = tmp_path / next(iter(changed))
        other = run(stage(tmp_path, model, steps=3, **changed), folder)
        assert hash_path(folder / "model") != hash_path(tmp_path / "plain" / "model")
        assert other.report.facts[name] == pytest.approx(plain.report.facts[name], abs=0.2)


def test_conversations_and_plain_texts(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"the text number {n} " * 3}) + "\n" for n in range(20)))
    made = SFT(texts=path, model=str(model), steps=2, limits={"max_length": 16, "long": "split"})  # pyright: ignore
    facts = run(made, tmp_path / "out").report.facts
    assert facts["texts split"] == 20


def test_kill_and_run_again_gives_the_same_model(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, steps=6)
    folder = tmp_path / "broken"
    assert run_and_kill(made, folder, at_step=5) == ["checkpoint-4"]
    finished = run(made, folder)
    unbroken = run(made, tmp_path / "unbroken")
    assert hash_path(folder / "model") == hash_path(tmp_path / "unbroken" / "model")
    assert finished.report == unbroken.report
    assert min(steps_told(finished)) >= 5  # it went on, it did not start over


def test_bad_records_are_set_aside_with_their_reason(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, steps=2)
    write_records(made.texts, 40, bad=3)
    context = run(made, tmp_path / "out")
    assert context.quarantine.counts == {"nothing to learn": 3}
    assert context.report.facts["records set aside"] == 3
    write_records(made.texts, 40, bad=9)
    with pytest.raises(DataError, match="9 of 40 records are bad"):
        run(made, tmp_path / "2")
    write_records(made.texts, 40, bad=40)
    with pytest.raises(DataError, match="can be learnt from"):
        run(made, tmp_path / "3")
    one = [{"prompt": "the only question: ", "completion": f"answer {n}"} for n in range(4)]
    made.texts.write_text("".join(json.dumps(row) + "\n" for row in one))
    with pytest.raises(UsageError, match=r"records\.jsonl: 4 records of one prompt cannot be split"):
        run(made, tmp_path / "4")


@pytest.mark.parametrize(("kind", "function"), [(SFT, "train_texts"), (Preference, "train_pairs")])
def test_one_of_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Training], function: str
) -> None:
    made = kind.model_validate({("texts" if kind is SFT else "pairs"): tmp_path / "records.jsonl"})
    made.checkable()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=rf"\.{function} from a script under torchrun") as error:
        made.checkable()
    module, _, name = made.in_python.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    assert error.value.code == "align.several-processes"


# --- the report ---------------------------------------------------------------------------------------------------


def told(change: float, *, spread: float = 0.05, count: int = 60, trained: float = 0.5) -> StageReport:
    draw = np.random.default_rng(0)
    tokens = np.full(count, 20.0)
    before = TextScores(tokens * 3.0, tokens)
    after = TextScores(tokens * (3.0 + change + draw.normal(0, spread, count)), tokens)
    curve = [{"step": 1.0, "loss": 3.0, "tokens": 80.0}, {"step": 2.0, "loss": 3.0 - trained, "tokens": 80.0}]
    report = StageReport()
    describe(MeasuredTexts(before, after, curve), report, seeds=Seeds(1))
    return report


@pytest.mark.parametrize(
    ("run_of", "words"),
    [
        ({"change": 0.0, "spread": 1.0}, "did not clearly change"),
        ({"change": 0.4}, "became less likely"),
        ({"change": -0.1, "trained": 2.0}, "the training texts themselves"),
        ({"change": -0.5, "count": 10}, "10 held-out texts are few"),
    ],
)
def test_notes_in_plain_words(run_of: dict[str, Any], words: str) -> None:
    assert any(words in note for note in told(**run_of).notes)


def test_no_false_alarm() -> None:
    assert told(-0.5).notes == []
