"""The stage align.preference on a tiny model: what it writes, that it learns, and that a kill costs nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from align.tiny_models import save_tiny_language_model
from flows.stage_runs import run, run_and_kill, steps_told
from plait.align.evaluate import PairScores
from plait.align.pairs import TokenPair
from plait.align.presets import BetaDPO, DrDPO
from plait.core.figures import StageReport
from plait.core.hashing import hash_path
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.errors import DataError
from plait.flows.align import Preference
from plait.flows.align_pairs import PairFile
from plait.flows.align_report import Measured, describe
from plait.flows.align_result import PreferenceResult


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def write_pairs(path: Path, count: int, *, first: int = 0, bad: int = 0) -> Path:
    """Chosen texts are of vowels, rejected ones of digits: learnable, and different in every pair."""
    rows = [
        {
            "id": f"pair-{n}",
            "prompt": f"question {n}: ",
            "chosen": "".join("aeiou"[(n * k + k) % 5] for k in range(1, 9)),
            "rejected": "".join("12345"[(n + k * k) % 5] for k in range(1, 9)),
            "source": "test",
        }
        for n in range(first, first + count)
    ]
    for row in rows[:bad]:
        row["rejected"] = row["chosen"]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def stage(tmp_path: Path, model: Path, **settings: Any) -> Preference:
    asked = {"steps": 8, "batch_size": 4, "learning_rate": 3e-2, "measure": 10, "checkpoint_every": 2} | settings
    return Preference(
        pairs=write_pairs(tmp_path / "pairs.parquet", 24),
        heldout=write_pairs(tmp_path / "heldout.parquet", 12, first=100),
        model=str(model),
        **asked,
    )


def test_learns_and_says_so(tmp_path: Path, model: Path) -> None:
    context = run(stage(tmp_path, model), tmp_path / "out")
    scores = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert scores.num_rows == 10
    per_token = {
        when: scores[f"chosen_{when}"].to_numpy() / scores["chosen_tokens"].to_numpy()
        - scores[f"rejected_{when}"].to_numpy() / scores["rejected_tokens"].to_numpy()
        for when in ("before", "after")
    }
    before, after = (float((per_token[when] > 0).mean()) for when in ("before", "after"))
    assert context.report.headline.startswith(
        f"held-out preference accuracy {before:.2f} → {after:.2f} (10 pairs), margin "
    )
    assert after == 1.0
    assert sorted(p.name for p in (tmp_path / "out" / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    kinds = [(figure.kind, figure.title) for figure in context.report.figures]
    assert kinds[0] == ("lines", "Training loss")
    assert [kind for kind, _ in kinds] == ["lines", "bars", "histogram"]
    assert context.report.facts["pairs trained on"] == 24
    losses = [e for e in context.events.memory if e["kind"] == "metric" and e["name"] == "loss"]
    assert [e["step"] for e in losses] == list(range(1, 9))
    assert str(tmp_path) not in context.report.model_dump_json()


@pytest.mark.parametrize("objective", [{"name": "beta_dpo", "beta": 0.2}, {"name": "dr_dpo", "loss": {"name": "ipo"}}])
def test_any_objective_by_name(tmp_path: Path, model: Path, objective: dict[str, Any]) -> None:
    made = stage(tmp_path, model, objective=objective, steps=2)
    assert isinstance(made.objective, (BetaDPO, DrDPO))
    run(made, tmp_path / "out")
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()


def test_equal_settings_equal_bytes(tmp_path: Path, model: Path) -> None:
    """Also where the reference log-probabilities come from the cache, and for any micro-batch the same pairs."""
    made = stage(tmp_path, model, steps=4)
    first, second = run(made, tmp_path / "1"), run(made, tmp_path / "2")
    assert adapter_bytes(tmp_path / "1") == adapter_bytes(tmp_path / "2")
    assert first.report == second.report
    run(made, tmp_path / "3", seed=8)
    assert adapter_bytes(tmp_path / "1") != adapter_bytes(tmp_path / "3")


def test_in_bfloat16_the_reference_is_rounded_as_the_policy_is(tmp_path: Path, model: Path) -> None:
    """A fresh adapter changes nothing, so there is no gap before the first step; and then it learns."""
    context = run(stage(tmp_path, model, bf16=True), tmp_path / "out")
    gaps = [e["value"] for e in context.events.memory if e["kind"] == "metric" and e["name"] == "gap"]
    assert gaps[0] == pytest.approx(0, abs=1e-5)
    assert gaps[-1] > 1
    result = PreferenceResult.model_validate_json((tmp_path / "out" / "result.json").read_text())
    assert min(result.gaps) > 0


def test_kill_and_run_again_gives_the_same_adapter(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, objective=BetaDPO(drop=0.25))
    folder = tmp_path / "broken"
    assert run_and_kill(made, folder, at_step=1) == []
    assert run_and_kill(made, folder, at_step=5) == ["checkpoint-4"]
    finished = run(made, folder)
    unbroken = run(made, tmp_path / "unbroken")
    assert adapter_bytes(folder) == adapter_bytes(tmp_path / "unbroken")
    assert finished.report == unbroken.report
    assert min(steps_told(finished)) >= 5  # it went on, it did not start over


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_and_run_again_with_smollm2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model, from its own cache, with real words."""
    monkeypatch.delenv("PLAIT_CACHE")
    made = stage(tmp_path, Path("smollm2-135m"), steps=4, checkpoint_every=1, learning_rate=1e-3, measure=3)
    folder = tmp_path / "broken"
    assert run_and_kill(made, folder, at_step=3) == ["checkpoint-2"]
    run(made, folder)
    run(made, tmp_path / "unbroken")
    assert adapter_bytes(folder) == adapter_bytes(tmp_path / "unbroken")


def adapter_bytes(folder: Path) -> str:
    return hash_path(folder / "adapter")


def test_bad_records_are_set_aside_with_their_reason(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, steps=2)
    write_pairs(made.pairs, 24, bad=2)
    context = run(made, tmp_path / "out")
    assert context.quarantine.counts == {"chosen and rejected are the same text": 2}
    assert context.report.facts["pairs set aside"] == 2
    places = [json.loads(line)["where"] for line in context.quarantine.path.read_text().splitlines()]
    assert places == ["pairs.parquet:pair-0", "pairs.parquet:pair-1"]
    write_pairs(made.pairs, 24, bad=9)
    with pytest.raises(DataError, match="9 of 36 records are bad"):
        run(made, tmp_path / "again")


def test_inputs_that_cannot_be_used(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model)
    pq.write_table(pa.table({"question": ["a"]}), made.pairs)
    with pytest.raises(DataError, match='no field "chosen"; fields: question'):
        run(made, tmp_path / "1")
    write_pairs(made.pairs, 3, bad=3)
    loose = made.model_copy(update={"max_bad_fraction": 1.0})
    with pytest.raises(DataError, match="none of the 3 records is a usable pair"):
        run(loose, tmp_path / "2")


# --- the verdict --------------------------------------------------------------------------------------------------


def told(chosen: float, rejected: float, *, count: int = 40) -> tuple[StageReport, PreferenceResult]:
    """The report of a run that moved the log-probabilities by so much (nats), from margins around -2."""
    draw = np.random.default_rng(0)
    pairs = [TokenPair(str(n), (1,), (2,) * 10, (3,) * 10) for n in range(count)]
    start = np.stack([-30 + draw.normal(0, 0.1, count), np.full(count, -28.0)], axis=1)
    moved = start + np.array([chosen, rejected]) + draw.normal(0, 0.1, (count, 2))
    records = [{"id": str(n), "prompt": "p", "chosen": "c", "rejected": "r"} for n in range(count)]
    scores = [PairScores.of(pairs, [(float(a), float(b)) for a, b in x]) for x in (start, moved)]
    curve = [{"step": 1.0, "loss": 0.69, "accuracy": 1.0, "beta": 0.1}]
    heldout = PairFile(pairs, records, count, 0)
    report = StageReport()
    measured = Measured(before=scores[0], after=scores[1], curve=curve, heldout=heldout, trained_on=8)
    result = describe(measured, report, stage=Preference(pairs=Path("pairs.parquet")), seeds=Seeds(1))
    return report, result


@pytest.mark.parametrize(
    ("chosen", "rejected", "words"),
    [
        (-3, -9, "Warning. likelihood displacement: -0."),
        (-0.5, -4, "A chosen reward below 0 is not broken"),
        (-6, -1, "Problem. held-out margin: -0.5"),
        (3, -4, "Note. held-out pairs: 40 pairs (threshold 100)"),
    ],
)
def test_verdicts_in_the_report(chosen: float, rejected: float, words: str) -> None:
    report, result = told(chosen, rejected)
    assert any(words in note for note in report.notes)
    [table] = [table for table in report.tables if table.title == "Verdicts"]
    assert [row[0] for row in table.rows] == [verdict.name for verdict in result.verdicts]
    assert len(report.notes) == sum(verdict.level != "fine" for verdict in result.verdicts)


def test_no_false_alarm() -> None:
    report, result = told(3, -4, count=200)
    assert not report.notes
    assert report.headline == (
        "held-out preference accuracy 0.00 → 1.00 (200 pairs), margin -0.20 → +0.50 nats per token"
    )
    assert result.gaps == pytest.approx([7.0] * 200, abs=0.6)
    assert PreferenceResult.model_validate_json(result.model_dump_json()) == result


def test_runs_of_one_stream_differ_in_their_objective_alone(tmp_path: Path, model: Path) -> None:
    """Two stages of other names, and the same stream: the same pairs, order and start of the adapter."""
    made = stage(tmp_path, model, steps=2, stream="methods")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        context = StageContext(
            folder=tmp_path / name, seeds=Seeds(7).child(name), engine=None, name=name, outputs=made.outputs
        )
        made.run(context)
    assert adapter_bytes(tmp_path / "one") == adapter_bytes(tmp_path / "two")
