"""Split, evaluate and compare: what they write, by hand and on a tiny model; the shipped recipe, small, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from align.tiny_models import save_tiny_language_model
from flows.test_align import run, stage, write_pairs
from plait.align.noise.injectors import Symmetric
from plait.align.presets import BetaDPO, DrDPO
from plait.core.seeds import Seeds
from plait.core.stage import Stage, StageContext
from plait.errors import DataError, UsageError
from plait.flows.align_compare import Compare, compare, labels
from plait.flows.align_flips import measure_flips
from plait.flows.align_pairs import split_by_prompt
from plait.flows.align_result import PreferenceResult
from plait.flows.evaluate import Evaluate, EvaluationResult
from plait.flows.flip import Flip
from plait.flows.split import Split


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


def go(made: Stage, folder: Path, seed: int = 7) -> StageContext:
    folder.mkdir(exist_ok=True)
    context = StageContext(folder=folder, seeds=Seeds(seed), engine=None, name="one", outputs=made.outputs)
    made.run(context)
    return context


# --- split --------------------------------------------------------------------------------------------------------


def test_a_prompt_is_on_one_side_only(tmp_path: Path) -> None:
    rows = [{"id": str(n), "prompt": f"p{n // 3}", "chosen": f"a{n}", "rejected": "b"} for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    context = go(Split(pairs=tmp_path / "pairs.jsonl", heldout_share=0.25), tmp_path / "out")
    train, heldout = (pq.read_table(context.output(name)).to_pylist() for name in ("pairs", "heldout"))
    assert len(train) + len(heldout) == 60
    assert len(heldout) == 15
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in heldout}
    assert [int(row["id"]) for row in train] == sorted(int(row["id"]) for row in train)
    assert context.report.headline == "45 pairs to train on and 15 held out, of 60"


def test_split_draws_and_leaves_out_what_is_long(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", 30)
    context = go(Split(pairs=path, train=7, heldout=3), tmp_path / "out")
    assert [pq.read_table(context.output(name)).num_rows for name in ("pairs", "heldout")] == [7, 3]
    longest = len("question 9: ") + 16  # prompts with one digit fit, those with two do not
    context = go(Split(pairs=path, max_characters=longest), tmp_path / "short")
    assert context.report.facts["pairs too long"] == 20
    with pytest.raises(DataError, match="none of the 30 pairs has 5 characters"):
        go(Split(pairs=path, max_characters=5), tmp_path / "none")


def test_an_implicit_prompt_is_a_prompt(tmp_path: Path) -> None:
    rows = [{"id": str(n), "chosen": f"Q{n // 2}? yes {n}", "rejected": f"Q{n // 2}? no"} for n in range(8)]
    train, heldout = split_by_prompt(rows, share=0.5, seeds=Seeds(1))
    assert {row["id"] for row in train}.isdisjoint(row["id"] for row in heldout)
    sides = [{row["chosen"].split("?")[0] for row in side} for side in (train, heldout)]
    assert not sides[0] & sides[1]


def test_one_prompt_cannot_be_split() -> None:
    rows = [{"id": str(n), "prompt": "p", "chosen": "a", "rejected": "b"} for n in range(8)]
    with pytest.raises(UsageError, match="8 pairs of one prompt"):
        split_by_prompt(rows, share=0.5, seeds=Seeds(1))


def test_preference_holds_out_a_share_of_its_own_pairs(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, steps=2).model_copy(update={"heldout": None, "heldout_share": 0.25})
    context = run(made, tmp_path / "out")
    assert context.report.facts["pairs trained on"] == 8  # two steps of four, of the 18 that are left
    assert context.report.facts["held-out pairs measured"] == 6


# --- flips --------------------------------------------------------------------------------------------------------


def test_flipped_pairs_are_weighed_by_hand() -> None:
    """Two clean pairs at gap 2, one flipped at gap -2, and one flipped that was learnt, at gap 1."""
    from align.test_verdicts import scores

    reference = scores(-30, -30, count=4)
    gaps = np.array([2.0, 2.0, -2.0, 1.0])
    now = scores(-30, -30, count=4)
    now = type(now)(now.chosen + gaps, now.rejected, now.chosen_length, now.rejected_length)
    flipped = [False, False, True, True]

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    from plait.align.presets import DPO

    plain = measure_flips(DPO(beta=0.5).build(seeds=Seeds(0)), now, reference, flipped)
    assert plain is not None
    assert (plain.pairs, plain.flipped, plain.weight, plain.learnt) == (4, 2, 0.5, 0.5)
    pull = sigmoid(-0.5 * gaps)
    assert plain.pull == pytest.approx(pull[2:].sum() / pull.sum())
    robust = measure_flips(DrDPO(beta=0.5, beta_prime=0.5).build(seeds=Seeds(0)), now, reference, flipped)
    weight = sigmoid(0.5 * gaps) ** 2  # exp(-loss/β') with β' = ½
    assert robust is not None
    assert robust.weight == pytest.approx(weight[2:].sum() / weight.sum())
    assert robust.pull == pytest.approx((weight * pull)[2:].sum() / (weight * pull).sum())
    assert measure_flips(DPO().build(seeds=Seeds(0)), now, reference, [False] * 4) is None


def test_preference_says_what_became_of_flipped_pairs(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, sample=3, sample_tokens=6)
    table = pq.read_table(made.pairs).to_pylist()
    for n, row in enumerate(table):
        row["flipped"] = n % 4 == 0
        if row["flipped"]:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(table), made.pairs)
    context = run(made, tmp_path / "out")
    result = PreferenceResult.model_validate_json((tmp_path / "out" / "result.json").read_text())
    assert result.flips is not None
    assert (result.flips.pairs, result.flips.flipped, result.flips.weight) == (10, 3, pytest.approx(0.3))
    assert result.samples is not None
    assert result.samples.prompts == 3
    titles = [table.title for table in context.report.tables]
    assert titles == [
        "Held-out pairs before and after", "What the policy writes now", "Flipped training pairs", "Verdicts",
    ]  # fmt: skip
    assert {v.name for v in result.verdicts} >= {"flipped labels learnt", "KL to the reference", "length drift"}
    # the mask is only measured: without it the same adapter comes out
    pq.write_table(pa.Table.from_pylist([{k: v for k, v in r.items() if k != "flipped"} for r in table]), made.pairs)
    run(made, tmp_path / "unmarked")
    weights = [tmp_path / name / "adapter" / "adapter_model.safetensors" for name in ("out", "unmarked")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_all_weights_can_be_trained(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model, lora=None, steps=3, learning_rate=1e-3, sample=2, sample_tokens=4)
    run(made, tmp_path / "out")
    again = stage(tmp_path, tmp_path / "out" / "adapter", steps=1)
    run(again, tmp_path / "again")  # what was written is a model
    first, second = (
        PreferenceResult.model_validate_json((tmp_path / name / "result.json").read_text()) for name in ("out", "again")
    )
    np.testing.assert_allclose(first.margins, second.margins_before, atol=1e-5)
    assert first.samples is not None
    assert first.samples.kl_sequence.value > 0


def test_epochs_in_place_of_steps(tmp_path: Path, model: Path) -> None:
    made = stage(tmp_path, model).model_dump(exclude_unset=True) | {"epochs": 0.5}
    with pytest.raises(ValueError, match="steps or epochs"):
        type(stage(tmp_path, model)).model_validate(made)
    del made["steps"]
    context = run(type(stage(tmp_path, model)).model_validate(made), tmp_path / "out")
    assert context.report.facts["steps"] == 3  # half of 24 pairs, four a step


# --- evaluate -----------------------------------------------------------------------------------------------------


@pytest.fixture
def adapter(tmp_path: Path, model: Path) -> Path:
    run(stage(tmp_path, model), tmp_path / "trained")
    return tmp_path / "trained" / "adapter"


def test_evaluate_says_the_same_as_the_training_did(tmp_path: Path, model: Path, adapter: Path) -> None:
    scorer = {"name": "function", "path": "plait.align.winrate:shorter"}
    made = Evaluate(
        pairs=tmp_path / "heldout.parquet", adapter=adapter, model=str(model), measure=10, sample=4, sample_tokens=6,
        scorer=scorer,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    context = go(made, tmp_path / "evaluated")
    result = EvaluationResult.model_validate_json(context.output("result").read_text())
    trained = PreferenceResult.model_validate_json((tmp_path / "trained" / "result.json").read_text())
    for measured, then in zip(result.measures[:2], trained.measures[:2], strict=True):
        assert measured.after.value == then.after.value
        assert measured.before is not None
        assert then.before is not None
        assert measured.before.value == then.before.value
    scores = pq.read_table(context.output("scores"))
    np.testing.assert_allclose(scores["gap"].to_numpy(), trained.gaps, atol=1e-3)
    rows = [json.loads(line) for line in context.output("samples").read_text().splitlines()]
    assert [set(row) for row in rows] == [{"id", "prompt", "policy", "reference"}] * 4
    assert result.win_rate is not None
    won = result.win_rate
    assert won.wins == sum(len(row["policy"]) < len(row["reference"]) for row in rows)
    assert won.wins + won.ties + won.losses == 4
    assert "win rate" in context.report.headline


def test_evaluate_without_samples(tmp_path: Path, model: Path, adapter: Path) -> None:
    made = Evaluate(pairs=tmp_path / "heldout.parquet", adapter=adapter, model=str(model), sample=0)
    context = go(made, tmp_path / "evaluated")
    result = EvaluationResult.model_validate_json(context.output("result").read_text())
    assert result.samples is None
    assert result.pairs == 12
    assert context.output("samples").read_text() == ""


def test_evaluate_a_whole_model_against_its_reference(tmp_path: Path, model: Path) -> None:
    run(stage(tmp_path, model, lora=None, steps=3, learning_rate=1e-3), tmp_path / "trained")
    made = Evaluate(
        pairs=tmp_path / "heldout.parquet", model_folder=tmp_path / "trained" / "adapter", reference=str(model),
        measure=10, sample=2, sample_tokens=4,
    )  # fmt: skip
    context = go(made, tmp_path / "evaluated")
    trained = PreferenceResult.model_validate_json((tmp_path / "trained" / "result.json").read_text())
    np.testing.assert_allclose(pq.read_table(context.output("scores"))["gap"].to_numpy(), trained.gaps, atol=1e-4)
    for settings in ({}, {"adapter": tmp_path, "reference": str(model)}):
        with pytest.raises(ValueError, match="an adapter, or a reference model"):
            Evaluate(pairs=tmp_path / "heldout.parquet", **settings)


# --- compare ------------------------------------------------------------------------------------------------------


def result(gaps: list[float], **objective: Any) -> PreferenceResult:
    ids = tuple(str(n) for n in range(len(gaps)))
    zeros = (0.0,) * len(gaps)
    return PreferenceResult(
        model="tiny",
        objective={"name": "dpo"} | objective,
        trained_on=1,
        steps=1,
        set_aside={},
        measures=(),
        heldout=ids,
        gaps=tuple(gaps),
        margins=zeros,
        margins_before=zeros,
        samples=None,
        flips=None,
        verdicts=(),
    )


def test_differences_are_paired() -> None:
    """The second method is right in all that the first is, and in one pair of ten more: a difference with no noise."""
    first = [1.0] * 60 + [-1.0] * 40
    second = [1.0] * 70 + [-1.0] * 30
    rows = compare([result(first), result(second), result(first)], seeds=Seeds(0))
    assert [row["accuracy"]["value"] for row in rows] == [0.6, 0.7, 0.6]
    assert rows[0]["difference"] is None
    assert rows[1]["difference"]["value"] == pytest.approx(0.1)
    assert rows[1]["difference"]["low"] > 0
    unpaired = rows[1]["accuracy"]["high"] - rows[1]["accuracy"]["low"]
    assert rows[1]["difference"]["high"] - rows[1]["difference"]["low"] < unpaired
    assert rows[2]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_methods_are_named_by_what_is_not_their_default() -> None:
    runs = [result([1.0]), result([1.0], name="dr_dpo", beta_prime=0.5), result([1.0], loss={"name": "ipo"})]
    assert labels(runs) == ["dpo", "dr_dpo (beta_prime 0.5)", "dpo (loss ipo)"]


def test_one_table_of_real_runs(tmp_path: Path, model: Path) -> None:
    paths = []
    for name, objective in (("dpo", {"name": "dpo"}), ("beta", BetaDPO(drop=0.25)), ("dr", DrDPO())):
        run(stage(tmp_path, model, steps=3, objective=objective, sample=2, sample_tokens=4), tmp_path / name)
        paths.append(tmp_path / name / "result.json")
    context = go(Compare(runs=tuple(paths)), tmp_path / "compared")
    [table] = context.report.tables
    assert [row[0] for row in table.rows] == ["dpo", "beta_dpo (drop 0.25)", "dr_dpo"]
    assert table.columns[5] == "KL, nats per sample"
    written = json.loads(context.output("comparison").read_text())
    assert [row["method"] for row in written] == [row[0] for row in table.rows]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    for name, text in (
        ("a", result([1.0, 2.0]).model_dump_json()), ("b", result([1.0]).model_dump_json()), ("c", '{"x": 1}')
    ):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(text)
    with pytest.raises(DataError, match="measured on 1 held-out pairs, the first run on 2 others"):
        go(Compare(runs=(tmp_path / "a.json", tmp_path / "b.json")), tmp_path / "1")
    with pytest.raises(DataError, match="not the result of align"):
        go(Compare(runs=(tmp_path / "a.json", tmp_path / "c.json")), tmp_path / "2")


# --- flips on purpose ---------------------------------------------------------------------------------------------


def test_flips_are_drawn_once_exchanged_and_marked(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.parquet", 400)
    first, second = (go(Flip(pairs=path, noise=Symmetric(rate=0.3)), tmp_path / name) for name in ("1", "2"))
    assert first.output("pairs").read_bytes() == second.output("pairs").read_bytes()
    before, after = pq.read_table(path).to_pylist(), pq.read_table(first.output("pairs")).to_pylist()
    flipped = [row["flipped"] for row in after]
    assert 90 <= sum(flipped) <= 150  # 120 expected, three standard deviations are 27
    for old, new in zip(before, after, strict=True):
        sides = ("rejected", "chosen") if new["flipped"] else ("chosen", "rejected")
        assert (new["chosen"], new["rejected"]) == (old[sides[0]], old[sides[1]])
    assert first.report.headline == f"{sum(flipped)} of 400 pairs flipped ({sum(flipped) / 400:.0%}), symmetric noise"
    other = go(Flip(pairs=path, noise=Symmetric(rate=0.3)), tmp_path / "3", seed=8)
    assert [row["flipped"] for row in pq.read_table(other.output("pairs")).to_pylist()] != flipped


def test_other_noise_by_name(tmp_path: Path) -> None:
    """Length-biased noise flips towards the longer text only."""
    path = write_pairs(tmp_path / "pairs.parquet", 60)
    rows = pq.read_table(path).to_pylist()
    (tmp_path / "some.jsonl").write_text(
        "".join(json.dumps(row | {"rejected": row["rejected"] * (1 + n % 2)}) + "\n" for n, row in enumerate(rows))
    )
    made = Flip.model_validate({"pairs": tmp_path / "some.jsonl", "noise": {"name": "length", "rate": 0.4}})
    after = pq.read_table(go(made, tmp_path / "out").output("pairs")).to_pylist()
    flipped = [row for row in after if row["flipped"]]
    assert flipped
    assert all(len(row["chosen"]) > len(row["rejected"]) for row in flipped)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_flip_none_or_all(tmp_path: Path, rate: float) -> None:
    context = go(Flip(pairs=write_pairs(tmp_path / "pairs.parquet", 9), noise=Symmetric(rate=rate)), tmp_path / "out")
    assert {row["flipped"] for row in pq.read_table(context.output("pairs")).to_pylist()} == {bool(rate)}


# --- the shipped recipe -------------------------------------------------------------------------------------------


def test_align_hh_small(tmp_path: Path, model: Path) -> None:
    """The shipped recipe on its own pairs, with a tiny model and few steps: one table of three methods."""
    from plait.core.folder import RunFolder
    from plait.core.recipe import load_recipe
    from plait.core.run import run as run_recipe

    small = [f"{name}.{setting}" for name in ("dpo", "beta_dpo", "dr_dpo") for setting in ("steps=2", "sample=2")]
    recipe = load_recipe("align-hh", overrides=[f"vars.model={model}", "split.train=24", "split.heldout=6", *small])
    result = run_recipe(recipe, folder=RunFolder(tmp_path / "run"), open_engine=NoEngine)
    report = result.folder.read_report(result.folder.stage(6, "compare"))
    [table] = report.tables
    assert [row[0] for row in table.rows] == ["dpo", "beta_dpo", "dr_dpo"]
    assert table.columns[-4:] == ["flips: weight", "flips: gradient", "flips: learnt", "warnings"]
    pages = (result.folder.path / "report.html").read_text()
    assert "Methods compared" in pages
    # Three methods, one reference: every pair was computed once.
    cached = [line for line in (tmp_path / "cache" / "reference-logprobs.jsonl").read_text().splitlines() if line]
    assert len(cached) == 16 + 6


class NoEngine:
    def close(self) -> None:
        pass
