"""`plait align` on the command line, on a tiny model, as a person and a program use it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from align.processes import run_together
from align.tiny_models import save_tiny_language_model
from flows.test_align import write_pairs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_language_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(autouse=True)
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    write_pairs(tmp_path / "pairs.parquet", 24)


QUICK = ("--steps", "2", "--lr", "0.03", "--heldout", "0.25")


@pytest.mark.parametrize("verb", ["train", "score", "doctor", "bench-noise", "calibrate"])
def test_every_help_ends_with_examples_of_the_verb(plait, verb):
    assert f"plait align {verb} " in plait("align", verb, "--help").out.split("Examples")[1]


def test_the_group_shows_its_verbs_and_examples(plait):
    text = plait("align", "--help").out
    assert all(f" {verb} " in text for verb in ("train", "score", "doctor", "bench-noise", "calibrate"))
    assert "plait align train pairs.jsonl" in text.split("Examples")[1]


def test_train_then_score(plait, tmp_path, model):
    shown = plait("align", "train", "pairs.parquet", "-m", model, *QUICK, "--sample", "2", "-o", "out")
    assert "Held-out pairs before and after" in shown.out
    assert "KL to the reference, nats per token" in shown.out
    assert "verdicts are fine; the others:\n- " in shown.out
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "adapter", "report.html", "result.json", "scores.parquet",
    ]  # fmt: skip
    [command] = [line.partition("plait ")[2] for line in shown.out.splitlines() if line.startswith("Next:")]
    scored = plait(*command.split(), "-o", "scores.parquet")
    assert "24 pairs, one row each in scores.parquet" in scored.out
    table = pq.read_table(tmp_path / "scores.parquet")
    gap = table["margin"].to_numpy() - (
        table["reference_chosen_logp"].to_numpy() - table["reference_rejected_logp"].to_numpy()
    )
    assert abs(gap - table["gap"].to_numpy()).max() < 1e-5


def test_train_for_a_program(plait, model):
    told = plait("align", "train", "pairs.parquet", "-m", model, *QUICK, "--objective", "dr_dpo", "--json").json
    assert told["objective"]["name"] == "dr_dpo"
    assert told["folder"] == "aligned"
    assert {v["name"] for v in told["verdicts"]} >= {"held-out margin", "likelihood displacement"}
    assert all(set(v) >= {"level", "measured", "threshold", "reason", "try_this"} for v in told["verdicts"])
    assert "heldout" not in told


def test_train_takes_an_objective_as_yaml_and_held_out_pairs_as_a_file(plait, tmp_path, model):
    write_pairs(tmp_path / "held.parquet", 5, first=100)
    objective = "{name: beta_dpo, alpha: 0.4, loss: {name: ipo}}"
    told = plait(
        "align", "train", "pairs.parquet", "-m", model, "--epochs", "0.5", "--objective", objective, "--heldout",
        "held.parquet", "--json",
    ).json  # fmt: skip
    assert (told["objective"]["alpha"], told["objective"]["loss"]["name"]) == (0.4, "ipo")
    assert (told["steps"], told["trained_on"]) == (3, 24)


def test_train_equals_the_stage(plait, tmp_path, model):
    """One piece of work, two ways in: the same settings and seed give the same adapter."""
    from plait.core.hashing import hash_path
    from plait.core.seeds import Seeds
    from plait.core.stage import StageContext
    from plait.flows.align import Preference

    plait("align", "train", "pairs.parquet", "-m", model, *QUICK, "--seed", "3", "-o", "out")
    made = Preference(
        pairs=tmp_path / "pairs.parquet", model=model, steps=2, learning_rate=0.03, heldout_share=0.25, measure=64
    )
    context = StageContext(
        folder=tmp_path / "stage", seeds=Seeds(3), engine=None, name="align", outputs=made.outputs
    )  # fmt: skip
    made.run(context)
    assert hash_path(tmp_path / "out" / "adapter") == hash_path(tmp_path / "stage" / "adapter")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.jsonl"], "nothing.jsonl: no such file"),
        (["pairs.parquet", "--heldout", "absent.jsonl"], "absent.jsonl: no such file"),
        (["pairs.parquet", "--heldout", "1.5"], "heldout_share: Input should be less than 1"),
        (
            ["pairs.parquet", "--objective", "dbo"],
            "'dbo' found using 'name' does not match any of the expected tags: 'dpo'",
        ),
        (["pairs.parquet", "--objective", "{name: dpo, bta: 1}"], "bta: Extra inputs are not permitted"),
        (["pairs.parquet", "--steps", "2", "--epochs", "1"], "give steps or epochs, not both"),
        (["pairs.parquet", "--objective", "{name: dpo"], "--objective {name: dpo: not valid YAML"),
    ],
)
def test_mistakes_are_told_before_the_model_is_loaded(plait, tmp_path, arguments, said):
    shown = plait("align", "train", *arguments, "-m", "/no/such/model", ok=2)
    assert said in shown.err
    assert not (tmp_path / "aligned").exists()


def test_a_finished_run_is_not_overwritten(plait, tmp_path, model):
    plait("align", "train", "pairs.parquet", "-m", model, *QUICK)
    before = (tmp_path / "aligned" / "result.json").read_bytes()
    assert "holds a finished run" in plait("align", "train", "pairs.parquet", "-m", model, *QUICK, ok=2).err
    assert (tmp_path / "aligned" / "result.json").read_bytes() == before


def test_several_processes_are_refused_before_anything_is_written(tmp_path, model):
    """As under torchrun, of which each process would write the same folder."""
    arguments = ["pairs.parquet", "-m", model, *QUICK, "-o", "out"]
    said = run_together(["-m", "plait", "align", "train", *arguments], folder=tmp_path, status=2)
    for text in said:
        assert text.startswith("error: align.preference writes its folder from one process, and WORLD_SIZE")
        assert "call plait.align.train_pairs from a script under torchrun" in text
    assert not (tmp_path / "out").exists()


def test_bad_pairs_are_counted(plait, tmp_path, model):
    write_pairs(tmp_path / "some.parquet", 20, bad=2)
    shown = plait("align", "score", "some.parquet", "-m", model, "-o", "s.jsonl")
    assert "set aside 2: chosen and rejected are the same text (see s.quarantine.jsonl)" in shown.out
    assert len((tmp_path / "s.quarantine.jsonl").read_text().splitlines()) == 2
    told = plait("align", "score", "some.parquet", "-m", model, "--json").json
    assert (told["pairs"], told["set aside"]) == (18, {"chosen and rejected are the same text": 2})
    assert not list(tmp_path.glob("quarantine*"))
    shown = plait("align", "train", "some.parquet", "-m", model, *QUICK, "-o", "out")
    assert "set aside 2: chosen and rejected are the same text (see out/quarantine.jsonl)" in shown.out
    assert len((tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()) == 2
    shown = plait("align", "score", "some.parquet", "-m", model, "--max-bad", "0.01", ok=1)
    assert "2 of 20 records are bad" in shown.err


def test_score_mistakes(plait, model):
    assert "its own reference" in plait("align", "score", "pairs.parquet", "-m", model, "--reference", ok=2).err
    assert "no writer" in plait("align", "score", "pairs.parquet", "-m", model, "-o", "s.txt", ok=2).err


def test_run_prints_the_comparison(plait, tmp_path, model):
    (tmp_path / "two.yaml").write_text(
        "stages:\n"
        "  - {name: split, use: align.split, pairs: pairs.parquet, heldout_share: 0.25}\n"
        + "".join(
            f"  - {{name: {name}, use: align.preference, pairs: '${{split.pairs}}', heldout: '${{split.heldout}}', "
            f"model: {json.dumps(model)}, steps: 2, objective: {{name: {name}}}}}\n"
            for name in ("dpo", "dr_dpo")
        )
        + "  - {name: compare, use: align.compare, runs: ['${dpo.result}', '${dr_dpo.result}']}\n"
    )
    shown = plait("run", "two.yaml")
    assert "Methods compared" in shown.out
    lines = shown.out.splitlines()
    at = lines.index("Methods compared")
    assert lines[at + 1].startswith("method\taccuracy\tdifference")
    assert [line.split("\t")[0] for line in lines[at + 2 : at + 4]] == ["dpo", "dr_dpo"]
