"""The host's own arguments: honoured with the result they promise, or refused by name."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments

from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.arguments import training_arguments
from plait.align.presets import DPO, BetaDPO, DrDPO
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.trainer import PairTrainer
from plait.core.seeds import Seeds
from plait.errors import UsageError

PAIRS = random_pairs(12, seed=6, longest=8)
HELDOUT = random_pairs(5, seed=7, longest=8)


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    """As a user of TRL writes them."""
    quiet: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False}
    asked = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 3e-3, "logging_steps": 1, "seed": 3}
    return TrainingArguments(str(folder), **(quiet | asked | {"save_strategy": "no"} | settings))


def trainer(
    folder: Path,
    *,
    model: Any = None,
    preset: Any = None,
    heldout: bool = False,
    args: TrainingArguments | None = None,
    trainer_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> PairTrainer:
    model = lora(tiny_model()) if model is None else model
    cache = ReferenceCache()
    return PairTrainer(
        model,
        args or arguments(folder, **settings),
        objective=(preset or DPO()).build(seeds=Seeds(1)),
        pairs=PAIRS,
        reference=reference_logprobs(model, PAIRS, cache=cache),
        heldout=HELDOUT if heldout else (),
        heldout_reference=reference_logprobs(model, HELDOUT, cache=cache) if heldout else None,
        **(trainer_settings or {}),
    )


def losses(trained: PairTrainer) -> list[float]:
    return [entry["loss"] for entry in trained.run()]


def gradients(trained: PairTrainer) -> dict[str, torch.Tensor]:
    """Of the first step, as the optimiser meets them."""
    seen: dict[str, torch.Tensor] = {}

    class Look(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            named = trained.network.named_parameters()
            seen.update({n: p.grad.clone() for n, p in named if p.grad is not None and n not in seen})

    trained.add_callback(Look())
    trained.run()
    return seen


# --- precision and memory -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("micro", [4, 2])
def test_gradient_checkpointing_gives_the_same_gradients(tmp_path: Path, adapter: bool, micro: int) -> None:
    """And does recompute: each layer runs a second time in the backward pass."""

    def run(name: str, **settings: Any) -> tuple[dict[str, torch.Tensor], int]:
        model = lora(tiny_model(), scale=0.1) if adapter else tiny_model().requires_grad_(True)
        calls: list[int] = []
        layer = next(m for m in model.modules() if type(m).__name__ == "LlamaMLP")
        layer.register_forward_pre_hook(lambda *_: calls.append(1))
        args = training_arguments(
            tmp_path / name, steps=1, batch_size=4, micro_batch_size=micro, max_grad_norm=0, use_cpu=True, **settings
        )
        made = trainer(tmp_path, model=model, args=args, preset=DrDPO())
        calls.clear()
        return gradients(made), len(calls)

    (plain, once), (again, twice) = run("plain"), run("checkpointing", gradient_checkpointing=True)
    assert plain.keys() == again.keys()
    assert len(plain) > 3
    assert all(torch.equal(plain[name], again[name]) for name in plain)
    assert twice == once + 4 // micro


def test_gradient_checkpointing_keeps_dropout_off(tmp_path: Path) -> None:
    """GPT-2's layers are in training mode while they recompute; their dropout modules are not."""
    model = tiny_model("gpt2")
    args = training_arguments(tmp_path, steps=1, use_cpu=True, gradient_checkpointing=True)
    curve = trainer(tmp_path, model=model, args=args).run()
    assert curve[0]["gap"] == pytest.approx(0, abs=1e-4)


def test_bf16_is_close_to_float32(tmp_path: Path) -> None:
    """Weights, optimiser and log-probabilities stay in float32; only the network runs in bfloat16."""

    def run(name: str, **settings: Any) -> PairTrainer:
        made = trainer(tmp_path / name, model=lora(tiny_model(), scale=0.1), max_grad_norm=0.0, **settings)
        seen = gradients(made)
        made.gradients = torch.cat([seen[n].flatten() for n in sorted(seen)])
        return made

    exact, rounded = run("float32"), run("bf16", bf16=True)
    assert all(p.dtype == torch.float32 for p in rounded.network.parameters())
    assert [e["loss"] for e in rounded.curve] == pytest.approx([e["loss"] for e in exact.curve], abs=0.05)
    assert [e["loss"] for e in rounded.curve] != [e["loss"] for e in exact.curve]
    likeness = torch.nn.functional.cosine_similarity(
        exact.gradients,
        rounded.gradients,
        dim=0,
    )
    assert likeness > 0.99


# --- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [DPO(), BetaDPO(drop=0.25)])
def test_evaluation_while_training_changes_nothing(tmp_path: Path, preset: Any) -> None:
    without = trainer(tmp_path / "1", preset=preset)
    measured = trainer(
        tmp_path / "2", preset=preset, heldout=True, eval_strategy="steps", eval_steps=2, eval_on_start=True
    )
    assert losses(measured) == losses(without)
    assert measured.objective.state_dict() == without.objective.state_dict()
    evaluations = [entry for entry in measured.state.log_history if "eval_loss" in entry]
    assert [entry["step"] for entry in evaluations] == [0, 2, 4]
    assert evaluations[-1] == pytest.approx(measured.evaluate() | {"step": 4})


def test_evaluation_is_the_objective_on_all_held_out_pairs(tmp_path: Path) -> None:
    """-β' log mean exp(-loss/β') of all of them, not a mean over batches; whatever the batch size."""
    from plait.align.evaluate import PairScores, score_pairs

    found = [
        trainer(tmp_path, preset=DrDPO(beta_prime=0.5), heldout=True, per_device_eval_batch_size=size)
        for size in (1, 8)
    ]
    for made in found:
        made.run()
    one, other = (made.evaluate() for made in found)
    assert one == pytest.approx(other, abs=1e-6)
    model = found[0].network
    reference = PairScores.of(HELDOUT, reference_logprobs(model, HELDOUT, cache=ReferenceCache()))
    gap = score_pairs(model, HELDOUT).implicit(reference)
    loss = [math.log1p(math.exp(-0.1 * each)) for each in gap]
    expected = -0.5 * math.log(sum(math.exp(-each / 0.5) for each in loss) / len(loss))
    assert one["eval_loss"] == pytest.approx(expected, abs=1e-5)
    assert one["eval_gap"] == pytest.approx(gap.mean(), abs=1e-5)


def test_the_best_checkpoint_is_loaded_at_the_end(tmp_path: Path) -> None:
    best = trainer(
        tmp_path,
        heldout=True,
        max_steps=6,
        learning_rate=1e-2,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,  # here the worst, which differs from the last
        save_total_limit=1,
    )
    best.run()
    evaluations = [entry for entry in best.state.log_history if "eval_loss" in entry]
    worst = max(evaluations, key=lambda entry: entry["eval_loss"])
    assert worst["step"] != 6
    assert best.evaluate()["eval_loss"] == pytest.approx(worst["eval_loss"], abs=1e-6)


# --- steps, epochs and logs ---------------------------------------------------------------------------------------


def test_epochs_are_steps_over_full_batches(tmp_path: Path) -> None:
    """12 pairs in batches of 4 are 3 steps; strategies per epoch are every 3 steps; logs count epochs in pairs."""
    made = trainer(
        tmp_path,
        heldout=True,
        max_steps=-1,
        num_train_epochs=2,
        eval_strategy="epoch",
        save_strategy="epoch",
    )
    curve = made.run()
    assert [entry["epoch"] for entry in curve] == pytest.approx([n / 3 for n in range(1, 7)])
    assert [e["step"] for e in made.state.log_history if "eval_loss" in e] == [3, 6]
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]
    assert trainer(tmp_path, max_steps=-1, num_train_epochs=0.5).args.max_steps == 2


def test_a_log_of_several_steps_holds_their_mean(tmp_path: Path) -> None:
    each, every_other = trainer(tmp_path / "1").run(), trainer(tmp_path / "2", logging_steps=2).run()
    assert [entry["step"] for entry in every_other] == [2, 4]
    for key in ("loss", "gap", "accuracy", "effective_pairs"):
        means = [(each[n][key] + each[n + 1][key]) / 2 for n in (0, 2)]
        assert [entry[key] for entry in every_other] == pytest.approx(means, abs=1e-6), key


def test_warm_up_as_a_share_and_a_cosine(tmp_path: Path) -> None:
    curve = trainer(tmp_path, warmup_steps=0.5, lr_scheduler_type="cosine", learning_rate=1e-3).run()
    assert [entry["learning_rate"] for entry in curve] == pytest.approx([0, 5e-4, 1e-3, 5e-4], abs=1e-9)


def test_an_optimiser_of_your_own(tmp_path: Path) -> None:
    model = lora(tiny_model(), scale=0.1)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    settings: Any = {"optimizers": (optimizer, None)}
    made = trainer(tmp_path, model=model, trainer_settings=settings, max_steps=1, max_grad_norm=0.0)
    seen = gradients(made)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.detach(), before[name] - 0.5 * seen[name])


def test_reporters_see_the_scalars(tmp_path: Path) -> None:
    """What `report_to` adds are callbacks: they get β, gap and the rest beside the loss."""
    seen: list[dict[str, float]] = []

    class Report(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            seen.append(dict(logs))

    trainer(tmp_path, trainer_settings={"callbacks": [Report()]}).run()
    assert all({"loss", "beta", "gap", "accuracy", "effective_pairs", "grad_norm"} <= set(logs) for logs in seen[:4])


def test_older_checkpoints_are_kept_as_asked(tmp_path: Path) -> None:
    kept: dict[int | None, list[str]] = {}
    for limit in (None, 2):
        folder = tmp_path / str(limit)
        trainer(folder, save_strategy="steps", save_steps=1, save_total_limit=limit).run()
        kept[limit] = sorted(path.name for path in folder.iterdir())
    assert kept == {None: [f"checkpoint-{n}" for n in (1, 2, 3, 4)], 2: ["checkpoint-3", "checkpoint-4"]}


def test_the_fall_back_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="plait.align"):
        shared = trainer(tmp_path)
        assert (shared.layout, caplog.messages) == ("shared_prefix", [])
        window = trainer(tmp_path, model=tiny_model("mistral-window"))
    assert window.layout == "two_branch"
    [message] = caplog.messages
    assert "attends to the last 6 tokens" in message


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"auto_find_batch_size": True}, "auto_find_batch_size=True"),
        ({"dataloader_num_workers": 2}, "dataloader_num_workers=2"),
        ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen='all'"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1; for pairs, use the loss cdpo"),
        ({"neftune_noise_alpha": 5.0}, "neftune_noise_alpha=5.0"),
        ({"save_only_model": True}, "save_only_model=True"),
        ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy='sequential'"),
        ({"eval_strategy": "steps", "eval_steps": 2}, "eval_strategy is 'steps', but there are no held-out pairs"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        trainer(tmp_path, **settings)
    assert named in str(caught.value)


def test_a_layer_that_drops_by_itself_cannot_be_checkpointed(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, OPTConfig

    config = OPTConfig(
        vocab_size=97, hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=4, dropout=0.1,
        word_embed_proj_dim=32, max_position_embeddings=64,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    args = training_arguments(tmp_path, steps=1, use_cpu=True, gradient_checkpointing=True)
    with pytest.raises(UsageError, match="set dropout of the model's configuration to 0"):
        trainer(tmp_path, model=model, args=args)


def test_a_batch_that_cannot_be_split_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="micro_batch_size 3 on 1 processes does not divide batch_size 4"):
        training_arguments(tmp_path, steps=1, batch_size=4, micro_batch_size=3)
    with pytest.raises(UsageError, match="either steps or epochs"):
        training_arguments(tmp_path)


def test_the_users_own_arguments_stay_as_they_are(tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=-1, num_train_epochs=1, save_strategy="epoch")
    before = args.to_dict()
    trainer(tmp_path, args=args)
    assert args.to_dict() == before
