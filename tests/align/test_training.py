"""From records to a trained model in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from align.tiny_models import byte_tokenizer, lora, save_tiny_language_model
from plait.align.arguments import training_arguments
from plait.align.losses import Conservative, SimPO
from plait.align.pairs import tokenise_pairs
from plait.align.presets import DPO, Custom, DrDPO
from plait.align.reduction import GroupMean
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.training import train_pairs
from plait.errors import DataError, RunError, UsageError
from plait.models import LoRA, load

RECORDS = [
    {"id": f"r{n}", "prompt": f"{n} + 1 = ", "chosen": f"{n + 1}, I think", "rejected": f"{n - 1}"} for n in range(8)
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_language_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))


def arguments(folder: Path, **settings: Any) -> Any:
    return training_arguments(folder, **({"steps": 4, "learning_rate": 1e-2, "use_cpu": True} | settings))


def test_an_adapter_on_a_model_by_name(tiny: str, tmp_path: Path) -> None:
    trained = train_pairs(tiny, RECORDS, arguments(tmp_path / "out"), objective=DrDPO(), lora=LoRA())
    assert len(trained.curve) == 4
    assert trained.curve[-1]["loss"] < trained.curve[0]["loss"]
    assert trained.pairs.problems == []
    trained.save(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_full_fine_tuning_is_compared_with_the_model_before(tiny: str, tmp_path: Path) -> None:
    """The same as with a second, frozen model, and no second model is there."""
    alone = train_pairs(tiny, RECORDS, arguments(tmp_path / "1"))
    frozen: Any = load(tiny).model
    beside = train_pairs(tiny, RECORDS, arguments(tmp_path / "2"), reference_model=frozen)
    assert alone.curve == beside.curve
    assert alone.curve[0]["gap"] == pytest.approx(0, abs=1e-4)
    assert alone.curve[-1]["loss"] < alone.curve[0]["loss"]


def test_another_reference_model(tiny: str, tmp_path: Path) -> None:
    other: Any = load(tiny).model
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    found = train_pairs(tiny, RECORDS, arguments(tmp_path, steps=1), reference_model=other)
    pairs = tokenise_pairs(RECORDS, tokenizer=found.tokenizer).pairs
    assert (
        found.trainer.table.reference.tolist()
        == torch.tensor(reference_logprobs(other, pairs, cache=ReferenceCache())).tolist()
    )
    assert abs(found.curve[0]["gap"]) > 0.01


def test_the_adapter_is_off_in_the_reference(tiny: str, tmp_path: Path) -> None:
    """A peft model that has moved from its base: the base is the reference, found without a copy of it."""
    base: Any = load(tiny).model
    moved = lora(base, scale=0.5)
    trained = train_pairs(moved, RECORDS, arguments(tmp_path, steps=1), tokenizer=byte_tokenizer())
    plain: Any = load(tiny).model
    expected = reference_logprobs(plain, trained.trainer.items, cache=ReferenceCache())
    torch.testing.assert_close(trained.trainer.table.reference, torch.tensor(expected), atol=1e-4, rtol=0)
    assert abs(trained.curve[0]["gap"]) > 0.01


def test_a_datasets_dataset_and_held_out_records(tiny: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    implicit = datasets.Dataset.from_list(
        [{"chosen": r["prompt"] + r["chosen"], "rejected": r["prompt"] + r["rejected"]} for r in RECORDS]
    )
    trained = train_pairs(tiny, implicit, arguments(tmp_path), heldout=RECORDS[:3])
    assert [pair.id for pair in trained.pairs.pairs] == [str(n) for n in range(8)]
    assert trained.trainer.evaluate()["eval_accuracy"] in (0, 1 / 3, 2 / 3, 1)


def test_weights_and_flip_priors_reach_the_loss(tiny: str, tmp_path: Path) -> None:
    """At the first step every gap is 0: the loss is log 2 whatever the weights, but not its gradient."""
    weighted = [{**r, "weight": 1.0 + n, "flip_prior": 0.05 * n} for n, r in enumerate(RECORDS)]
    settings: Any = {"steps": 1, "batch_size": 8, "micro_batch_size": 8}
    whole = train_pairs(tiny, weighted, arguments(tmp_path / "1", **settings), objective=DPO(loss=Conservative()))
    settings["micro_batch_size"] = 2
    split = train_pairs(tiny, weighted, arguments(tmp_path / "2", **settings), objective=DPO(loss=Conservative()))
    plain = train_pairs(tiny, RECORDS, arguments(tmp_path / "3", **settings), objective=DPO(loss=Conservative()))
    assert whole.curve[0]["effective_pairs"] == pytest.approx(36**2 / sum(n * n for n in range(1, 9)))
    for key in ("loss", "gap", "effective_pairs", "grad_norm"):
        assert split.curve[0][key] == pytest.approx(whole.curve[0][key], rel=1e-4, abs=1e-5)
    assert plain.curve[0]["grad_norm"] != pytest.approx(whole.curve[0]["grad_norm"], rel=1e-2)


def test_groups_reach_the_reduction_that_counts_them_alike(tiny: str, tmp_path: Path) -> None:
    """One pair of one annotator weighs as much as the seven of another: as if it had seven times their weight."""
    settings: Any = {"steps": 1, "batch_size": 8, "micro_batch_size": 4}
    alike = Custom(reduce=GroupMean())
    grouped = [{**r, "group": "ann" if n else "bob"} for n, r in enumerate(RECORDS)]
    weighted = [{**r, "weight": 1.0 if n else 7.0} for n, r in enumerate(RECORDS)]
    by_group = train_pairs(tiny, grouped, arguments(tmp_path / "1", **settings), objective=alike)
    by_weight = train_pairs(tiny, weighted, arguments(tmp_path / "2", **settings), objective=Custom())
    without = train_pairs(tiny, RECORDS, arguments(tmp_path / "3", **settings), objective=alike)
    assert by_group.curve[0]["grad_norm"] == pytest.approx(by_weight.curve[0]["grad_norm"], rel=1e-4)
    assert without.curve[0]["grad_norm"] != pytest.approx(by_group.curve[0]["grad_norm"], rel=1e-2)


def test_a_flip_prior_for_some_is_refused(tiny: str, tmp_path: Path) -> None:
    some = [{**RECORDS[0], "flip_prior": 0.1}, *RECORDS[1:]]
    with pytest.raises(UsageError, match="1 of 8 pairs have a flip_prior"):
        train_pairs(tiny, some, arguments(tmp_path))


def test_resumes_where_it_was_killed(tiny: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(step: int, *_: Any) -> None:
        if step == 3:
            raise Killed

    settings: Any = {"checkpoint_every": 2}
    unbroken = train_pairs(tiny, RECORDS, arguments(tmp_path / "1", **settings), lora=LoRA())
    with pytest.raises(Killed):
        train_pairs(tiny, RECORDS, arguments(tmp_path / "2", **settings), lora=LoRA(), on_step=kill)
    assert train_pairs(tiny, RECORDS, arguments(tmp_path / "2", **settings), lora=LoRA()).curve == unbroken.curve
    with pytest.raises(RunError, match="another objective"):
        train_pairs(tiny, RECORDS, arguments(tmp_path / "2", **settings), lora=LoRA(), objective=DrDPO())


def test_records_that_cannot_be_used_are_written_down_with_their_reason(tiny: str, tmp_path: Path) -> None:
    bad = {"prompt": "q", "chosen": "same", "rejected": "same"}
    trained = train_pairs(tiny, [bad, *RECORDS], arguments(tmp_path, steps=1), max_bad_fraction=0.2)
    assert trained.pairs.reasons == {"chosen and rejected are the same text": 1}
    [line] = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["where"] == "records:0"
    with pytest.raises(DataError, match="1 of 9 records are bad"):
        train_pairs(tiny, [bad, *RECORDS], arguments(tmp_path, steps=1))


def test_reference_free_needs_no_reference_pass(tiny: str, tmp_path: Path) -> None:
    trained = train_pairs(tiny, RECORDS, arguments(tmp_path, steps=2), objective=DPO(loss=SimPO(), beta=2.0))
    assert len(trained.curve) == 2
    assert not (tmp_path / "cache" / "reference-logprobs.jsonl").exists()


def test_bf16_compares_with_a_reference_in_bf16(tiny: str, tmp_path: Path) -> None:
    """Else the first gap would hold the rounding of the whole network."""
    trained = train_pairs(tiny, RECORDS, arguments(tmp_path / "1", steps=1, bf16=True))
    exact = train_pairs(tiny, RECORDS, arguments(tmp_path / "2", steps=1))
    rounding = trained.trainer.table.reference - exact.trainer.table.reference
    assert rounding.abs().mean() > 5 * abs(trained.curve[0]["gap"])


def test_refusals(tiny: str, tmp_path: Path) -> None:
    module: Any = load(tiny).model
    with pytest.raises(UsageError, match="without a tokenizer"):
        train_pairs(module, RECORDS, arguments(tmp_path))
    with pytest.raises(UsageError, match="lora adapts a model by name"):
        train_pairs(module, RECORDS, arguments(tmp_path), lora=LoRA(), tokenizer=byte_tokenizer())
    with pytest.raises(UsageError, match="asks for a gradient"):
        train_pairs(load(tiny), RECORDS, arguments(tmp_path))
    with pytest.raises(UsageError, match="no pairs"):
        train_pairs(tiny, [], arguments(tmp_path))
