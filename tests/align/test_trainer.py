"""Training: equal to a loop written by hand, however the batch is split, and exact after a kill."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.losses import IPO, SimPO
from plait.align.objectives import PairBatch
from plait.align.pairs import TokenPair
from plait.align.presets import DPO, BetaDPO, DrDPO
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.shared_prefix import lay_out, pair_logprobs
from plait.align.trainer import PairTrainer, _dropout_off, training_arguments
from plait.core.seeds import Seeds
from plait.errors import ModelError, RunError, UsageError

PAIRS = random_pairs(14, seed=2, longest=8)
SEEDS = Seeds(11)
Preset = DPO | BetaDPO | DrDPO


def trainer(
    folder: Path,
    *,
    preset: Preset | None = None,
    model: Any = None,
    pairs: list[TokenPair] | None = None,
    with_reference: bool = True,
    on_step: Any = None,
    **settings: Any,
) -> PairTrainer:
    model, pairs = model or lora(tiny_model()), pairs or PAIRS
    reference = reference_logprobs(model, pairs, cache=ReferenceCache()) if with_reference else None
    asked = {"steps": 6, "batch_size": 4, "learning_rate": 3e-3} | settings
    return PairTrainer(
        model,
        training_arguments(folder, **asked),
        objective=(preset or DPO()).build(seeds=SEEDS),
        pairs=pairs,
        reference=reference,
        seeds=SEEDS,
        on_step=on_step,
    )


def weights(trained: PairTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trained.network.named_parameters() if p.requires_grad}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    """AdamW, linear decay to 0, clipping at 1: same losses and weights as the trainer's."""
    model = lora(tiny_model())
    reference = torch.tensor(reference_logprobs(model, PAIRS, cache=ReferenceCache()))
    objective = BetaDPO(drop=0.25).build(seeds=SEEDS)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
    found = trainer(tmp_path, preset=BetaDPO(drop=0.25))
    losses = []
    for step, rows in enumerate(found.batches.steps_in_order()):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 6)
        chosen, rejected = pair_logprobs(model, lay_out([PAIRS[row] for row in rows]))
        size = torch.tensor([[len(PAIRS[r].chosen), len(PAIRS[r].rejected)] for r in rows]).float()
        batch = PairBatch(chosen, rejected, *reference[rows].T, *size.T)
        result = objective(batch)
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(result.loss.detach()))
    curve = found.run()
    assert [entry["loss"] for entry in curve] == pytest.approx(losses, abs=1e-6)
    expected = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for name, value in weights(found).items():
        torch.testing.assert_close(value, expected[name].detach(), atol=1e-6, rtol=1e-4)


def test_learns(tmp_path: Path) -> None:
    curve = trainer(tmp_path, steps=24, learning_rate=2e-2).run()
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert curve[-1]["loss"] < 0.55
    assert curve[-1]["accuracy"] == 1.0
    assert [entry["step"] for entry in curve] == list(range(1, 25))


@pytest.mark.parametrize("preset", [DPO(), DPO(loss=IPO()), DrDPO(beta_prime=0.5), BetaDPO(drop=0.25)])
def test_the_split_into_micro_batches_changes_nothing(tmp_path: Path, preset: Preset) -> None:
    whole = trainer(tmp_path / "1", preset=preset, steps=3, batch_size=8)
    split = trainer(tmp_path / "2", preset=preset, steps=3, batch_size=8, micro_batch_size=2)
    ones = trainer(tmp_path / "3", preset=preset, steps=3, batch_size=8, micro_batch_size=1)
    curves = [t.run() for t in (whole, split, ones)]
    for key in ("loss", "gap", "beta", "kept", "effective_pairs", "grad_norm"):
        for curve in curves[1:]:
            assert [e[key] for e in curve] == pytest.approx([e[key] for e in curves[0]], abs=2e-5, rel=1e-4), key
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(split)[name], value, atol=2e-5, rtol=1e-3)


def test_local_statistics_of_the_official_codes(tmp_path: Path) -> None:
    """Each micro-batch by itself: pairs one by one make Dr. DPO plain DPO, and the step is the mean of its parts."""

    def run(name: str, *, micro: int, preset: Preset, local: bool) -> list[dict[str, float]]:
        made = trainer(
            tmp_path / name, preset=preset, steps=3, model=lora(tiny_model(), scale=0.3), micro_batch_size=micro
        )
        assert made.objective.scope == ("micro_batch" if local else "step")
        return made.run()

    official = DrDPO(beta_prime=0.3, compat="official")
    dpo = run("dpo", micro=4, preset=DPO(), local=False)
    ones = run("ones", micro=1, preset=official, local=True)
    twos = run("twos", micro=2, preset=official, local=True)
    whole = run("whole", micro=4, preset=official, local=True)
    exact = run("exact", micro=2, preset=DrDPO(beta_prime=0.3), local=False)
    for key in ("loss", "gap", "grad_norm", "effective_pairs"):
        assert [e[key] for e in ones] == pytest.approx([e[key] for e in dpo], rel=1e-4, abs=1e-5), key
        assert [e[key] for e in whole] == pytest.approx([e[key] for e in exact], rel=1e-4, abs=1e-5), key
    # By Jensen's inequality the mean of local values lies above the value of the whole.
    assert exact[0]["loss"] < twos[0]["loss"] < ones[0]["loss"]


def test_local_statistics_move_once_per_micro_batch(tmp_path: Path) -> None:
    preset = BetaDPO(drop=0.25, compat="official")
    made = trainer(tmp_path, preset=preset, model=lora(tiny_model(), scale=0.3), steps=3, micro_batch_size=2)
    made.run()
    assert made.objective.state_dict()["steps"] == 6


def test_lora_dropout_is_drawn_once_per_step_whatever_the_split(tmp_path: Path) -> None:
    """Evaluated beforehand and run again with gradients, a part drops the same units: the value is that of the step."""
    model = lora(tiny_model(), dropout=0.5, scale=0.3)
    t = trainer(tmp_path, preset=DrDPO(), model=model, batch_size=4, micro_batch_size=2)
    iterator = iter(t.get_train_dataloader())
    torch.manual_seed(1)
    batches, _ = t.get_batch_samples(iterator, 2, torch.device("cpu"))
    first = [pair_logprobs(model, batch.laid_out)[0] for batch in batches]
    torch.manual_seed(1)
    _dropout_off(model)
    again = [pair_logprobs(model, batch.laid_out)[0] for batch in batches]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(again[0], pair_logprobs(model, batches[0].laid_out)[0])  # dropout is really on


def test_same_seed_same_bits(tmp_path: Path) -> None:
    one, two = trainer(tmp_path / "1"), trainer(tmp_path / "2")
    assert one.run() == two.run()
    assert same(weights(one), weights(two))


def test_full_fine_tuning(tmp_path: Path) -> None:
    model = tiny_model()
    curve = trainer(tmp_path, model=model, steps=8, learning_rate=1e-3).run()
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_base_dropout_is_off_while_training(tmp_path: Path) -> None:
    """GPT-2 drops 10 % by default; at the first step policy and reference must agree all the same."""
    curve = trainer(tmp_path, model=tiny_model("gpt2"), steps=1).run()
    assert curve[0]["gap"] == pytest.approx(0, abs=1e-4)


def test_reference_free_objective_needs_no_reference(tmp_path: Path) -> None:
    curve = trainer(tmp_path, preset=DPO(loss=SimPO(), beta=2.0), with_reference=False, steps=3).run()
    assert len(curve) == 3
    with pytest.raises(UsageError, match="reference_logprobs"):
        trainer(tmp_path, with_reference=False)


def test_two_rows_per_pair_train_alike(tmp_path: Path) -> None:
    """The fall-back layout gives the same run as the shared prefix."""
    shared = trainer(tmp_path / "1")
    apart = trainer(tmp_path / "2")
    apart.layout = "two_branch"
    curves = shared.run(), apart.run()
    assert [e["loss"] for e in curves[0]] == pytest.approx([e["loss"] for e in curves[1]], abs=1e-5)


# --- kill and resume ----------------------------------------------------------------------------------------------


class _Killed(Exception):
    pass


def killed_at(step: int) -> Any:
    def on_step(done: int, _total: int, _scalars: Any) -> None:
        if done == step:
            raise _Killed

    return on_step


@pytest.mark.parametrize(
    ("preset", "dropout", "micro"), [(DPO(), 0.0, 4), (DPO(), 0.3, 2), (BetaDPO(drop=0.25), 0.3, 2)]
)
def test_resumed_is_unbroken(tmp_path: Path, preset: Preset, dropout: float, micro: int) -> None:
    settings: Any = {"preset": preset, "checkpoint_every": 2, "micro_batch_size": micro}
    unbroken = trainer(tmp_path / "1", model=lora(tiny_model(), dropout=dropout), **settings)
    curve = unbroken.run()
    broken = trainer(tmp_path / "2", model=lora(tiny_model(), dropout=dropout), on_step=killed_at(5), **settings)
    with pytest.raises(_Killed):
        broken.run()
    assert [p.name for p in (tmp_path / "2").iterdir()] == ["checkpoint-4"]
    torch.rand(7)  # whatever else the new process did before
    resumed = trainer(tmp_path / "2", model=lora(tiny_model(), dropout=dropout), **settings)
    assert resumed.run() == curve
    assert same(weights(resumed), weights(unbroken))
    assert resumed.objective.state_dict() == unbroken.objective.state_dict()


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    first = trainer(tmp_path, checkpoint_every=4)
    curve = first.run()
    again = trainer(tmp_path, checkpoint_every=4, on_step=killed_at(1))
    assert again.run() == curve  # no step is trained, or it would be killed
    assert same(weights(again), weights(first))


def test_a_torn_checkpoint_is_not_seen(tmp_path: Path) -> None:
    unbroken = trainer(tmp_path / "1", checkpoint_every=2).run()
    broken = trainer(tmp_path / "2", checkpoint_every=2, on_step=killed_at(3))
    with pytest.raises(_Killed):
        broken.run()
    torn = tmp_path / "2" / "partial"
    torn.mkdir()
    (torn / "trainable.safetensors").write_bytes(b"torn")
    assert trainer(tmp_path / "2", checkpoint_every=2).run() == unbroken


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, checkpoint_every=2).run()
    others: list[tuple[dict[str, Any], str]] = [
        ({"preset": DPO(beta=0.2)}, "another objective;"),
        ({"preset": DrDPO()}, "another objective;"),
        ({"learning_rate": 1e-3}, "another learning_rate;"),
        ({"micro_batch_size": 2}, "another per_device_train_batch_size, another gradient_accumulation_steps;"),
        ({"pairs": random_pairs(14, seed=3)}, "another set of pairs, another reference model;"),
        ({"pairs": [replace(pair, weight=2.0) for pair in PAIRS]}, "another set of pairs;"),
        ({"model": lora(tiny_model(seed=1))}, "another model, another reference model;"),
        ({"model": tiny_model()}, "another set of trained weights;"),
    ]
    for other, differs in others:
        with pytest.raises(RunError, match=differs):
            trainer(tmp_path, checkpoint_every=2, **other).run()


def test_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    trainer(tmp_path, checkpoint_every=3).run()
    [folder] = tmp_path.iterdir()
    assert sorted(p.suffix for p in folder.iterdir()) == [".json"] * 2 + [".safetensors"] * 3
    json.loads((folder / "training.json").read_text())


# --- faults -------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_names_its_pairs(tmp_path: Path) -> None:
    model = lora(tiny_model())
    t = trainer(tmp_path, model=model)
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "lora_B" in n).fill_(math.nan)
    first = next(t.batches.steps_in_order())
    with pytest.raises(ModelError, match="log-probabilities of 4 of 4 pairs are not finite at step 1") as caught:
        t.run()
    assert caught.value.where == "pairs " + ", ".join(PAIRS[row].id for row in first)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only 14 examples"):
        trainer(tmp_path, batch_size=15)
    with pytest.raises(UsageError, match="no pairs"):
        PairTrainer(tiny_model(), training_arguments(tmp_path, steps=1), objective=DPO().build(seeds=SEEDS), pairs=[])
    with pytest.raises(UsageError, match="1 reference log-probabilities for 14"):
        PairTrainer(
            tiny_model(),
            training_arguments(tmp_path, steps=1),
            objective=DPO().build(seeds=SEEDS),
            pairs=PAIRS,
            reference=[(0.0, 0.0)],
        )


def test_reference_values_that_are_no_numbers_are_refused_with_their_pairs(tmp_path: Path) -> None:
    reference = [(-1.0, -2.0)] * 12 + [(math.nan, -2.0), (-1.0, -math.inf)]
    with pytest.raises(ModelError, match="reference log-probabilities of 2 pairs are not finite") as caught:
        PairTrainer(
            lora(tiny_model()),
            training_arguments(tmp_path, steps=1),
            objective=DPO().build(seeds=SEEDS),
            pairs=PAIRS,
            reference=reference,
        )
    assert caught.value.where == "pairs pair-12, pair-13"


def test_a_model_without_anything_to_train_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="asks for a gradient"):
        trainer(tmp_path, model=tiny_model().requires_grad_(False))


def test_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path, checkpoint_every=3).run()
    assert capfd.readouterr() == ("", "")
