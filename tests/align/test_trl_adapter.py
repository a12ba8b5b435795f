"""The TRL adapter against TRL itself: same loss, gradients, metrics and log-probabilities; exact over micro-batches."""

from __future__ import annotations

import inspect
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from align.tiny_models import byte_tokenizer
from plait.align.pairs import tokenise_pairs
from plait.align.shared_prefix import lay_out, pair_logprobs
from plait.align.trl.versions import check_version
from plait.errors import RunError, UsageError

pytestmark = [
    # peft 0.21 reads a property that transformers 5.23 has renamed.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def rows(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    draw = random.Random(seed)

    def words(least: int) -> str:
        return "".join(draw.choice("abcdefgh ") for _ in range(draw.randint(least, 12))) + "."

    return [{"prompt": f"{words(3)}?", "chosen": f"y{words(1)}", "rejected": f"n{words(1)}"} for _ in range(count)]


def language_model(*, seed: int = 0) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=257,
    )
    model = LlamaForCausalLM(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model


def trainer(kind: Any, folder: Path, *, lora: bool = False, seed: int = 1, count: int = 8, **settings: Any) -> Any:
    """A trainer of TRL's or ours, with a policy that is not its reference."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig

    import plait.align.trl as ours

    configs = {
        trl.DPOTrainer: trl.DPOConfig,
        ours.CDPOTrainer: ours.CDPOConfig,
        ours.BetaDPOTrainer: ours.BetaDPOConfig,
        ours.DrDPOTrainer: ours.DrDPOConfig,
    }
    asked = {
        "per_device_train_batch_size": 4,
        "max_steps": 3,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "bf16": False,
        "use_cpu": True,
        "activation_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "dataloader_pin_memory": False,
        "max_grad_norm": 0.0,
    }
    made = kind(
        language_model(seed=0 if lora else seed),
        ref_model=None if lora else language_model(seed=0),
        args=configs[kind](str(folder), **(asked | settings)),
        train_dataset=Dataset.from_list(rows(count)),
        eval_dataset=Dataset.from_list(rows(4, seed=9)),
        processing_class=byte_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if lora else None,
    )
    if lora:
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in made.model.named_parameters():
                if "lora_B" in name:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def one_batch(made: Any) -> tuple[float, dict[str, torch.Tensor], dict[str, list[float]]]:
    """Loss, gradients and metrics of the first batch, through the host's own training step."""
    made.create_optimizer_and_scheduler(3)
    batches, items = made.get_batch_samples(iter(made.get_train_dataloader()), 1, torch.device("cpu"))
    made.current_gradient_accumulation_steps = 1
    loss = made.training_step(made.model, batches[0], items)
    gradients = {n: p.grad.clone() for n, p in made.model.named_parameters() if p.grad is not None}
    return float(loss), gradients, dict(made._metrics["train"])


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, atol: float = 1e-5) -> None:
    assert a.keys() == b.keys()
    assert any(float(value.abs().max()) > 10 * atol for value in a.values())
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], atol=atol, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


LIMITS = {
    "beta_dpo": ("BetaDPOTrainer", {"alpha": 0.0, "drop": 0.0}),
    "dr_dpo": ("DrDPOTrainer", {"beta_prime": 1e6}),
    "cdpo": ("CDPOTrainer", {"label_smoothing": 0.0}),
}


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
def test_the_limit_is_trls_dpo(tmp_path: Path, limit: str, lora: bool) -> None:
    import trl

    import plait.align.trl as ours

    name, settings = LIMITS[limit]
    loss, gradients, metrics = one_batch(trainer(trl.DPOTrainer, tmp_path / "trl", lora=lora, beta=0.5))
    found = one_batch(trainer(getattr(ours, name), tmp_path / "ours", lora=lora, beta=0.5, **settings))
    assert abs(loss - math.log(2)) > 0.02  # the policy is not its reference
    assert found[0] == pytest.approx(loss, abs=1e-5)
    close(found[1], gradients)
    own = {key: value for key, value in found[2].items() if not key.startswith("objective/")}
    assert own.keys() == metrics.keys()
    for key, value in own.items():
        assert value == pytest.approx(metrics[key], abs=1e-5), key
    assert {"objective/beta", "objective/kept", "objective/gap", "objective/effective_pairs"} <= found[2].keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": ["hinge"]},
        {"loss_type": ["ipo"]},
        {"loss_type": ["robust"], "label_smoothing": 0.2},
        {"loss_type": ["exo_pair"], "label_smoothing": 0.01},
        {"loss_type": ["nca_pair"]},
        {"loss_type": ["bco_pair"]},
        {"loss_type": ["sppo_hard"]},
        {"loss_type": ["apo_zero"]},
        {"loss_type": ["apo_down"]},
        {"ld_alpha": 0.3},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.7, 0.4]},
        {"precompute_ref_log_probs": True},
    ],
)
def test_trls_other_settings_keep_their_meaning(tmp_path: Path, settings: dict[str, Any]) -> None:
    import trl

    import plait.align.trl as ours

    same = {"lora": True, "beta": 0.5} | settings
    expected = one_batch(trainer(trl.DPOTrainer, tmp_path / "trl", **same))
    found = one_batch(trainer(ours.BetaDPOTrainer, tmp_path / "ours", alpha=0.0, drop=0.0, **same))
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    close(found[1], expected[1])


def test_label_smoothing_is_honoured_again(tmp_path: Path) -> None:
    """By hand from TRL's log-probabilities: -(1-ε) log σ(z) - ε log σ(-z), which TRL itself leaves out."""
    import plait.align.trl as ours

    made = trainer(ours.CDPOTrainer, tmp_path, beta=0.5, label_smoothing=0.3)
    loss, _, _ = one_batch(made)
    batch = next(iter(made.get_train_dataloader()))
    inputs = made._with_reference(batch)
    pairs = made._frozen_pairs(inputs)
    z = 0.5 * ((pairs.policy_chosen - pairs.reference_chosen) - (pairs.policy_rejected - pairs.reference_rejected))
    by_hand = (0.7 * torch.log1p(torch.exp(-z)) + 0.3 * torch.log1p(torch.exp(z))).mean()
    assert loss == pytest.approx(float(by_hand), abs=1e-5)
    plain = torch.log1p(torch.exp(-z)).mean()
    assert abs(loss - float(plain)) > 0.02


def test_log_probabilities_are_those_of_pair_trainer(tmp_path: Path) -> None:
    import plait.align.trl as ours

    made = trainer(ours.DrDPOTrainer, tmp_path, per_device_train_batch_size=8)
    found = made._frozen_pairs(made._with_reference(next(iter(made.get_train_dataloader()))))
    tokenised = tokenise_pairs(rows(8), tokenizer=byte_tokenizer()).pairs
    with torch.no_grad():
        chosen, rejected = pair_logprobs(made.model, lay_out(tokenised))
    key = torch.sort(chosen).values, torch.sort(rejected).values  # TRL shuffles
    torch.testing.assert_close(torch.sort(found.policy_chosen).values, key[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.sort(found.policy_rejected).values, key[1], atol=1e-3, rtol=0)
    assert sorted(found.chosen_length.tolist()) == sorted(float(len(pair.chosen)) for pair in tokenised)


# --- the whole step -----------------------------------------------------------------------------------------------


def weights(made: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in made.model.named_parameters() if p.requires_grad}


def trained(kind: Any, folder: Path, micro: int, **settings: Any) -> tuple[Any, list[dict[str, Any]]]:
    split = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro, "max_steps": 2}
    made = trainer(kind, folder, lora=True, count=24, beta=0.5, optim="sgd", learning_rate=0.1, **split, **settings)
    made.train()
    return made, [entry for entry in made.state.log_history if "grad_norm" in entry]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("DrDPOTrainer", {"beta_prime": 0.5}), ("BetaDPOTrainer", {"drop": 0.25}), ("CDPOTrainer", {})],
)
def test_the_split_into_micro_batches_changes_nothing(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    import plait.align.trl as ours

    kind = getattr(ours, name)
    (whole, curve), *others = [trained(kind, tmp_path / str(micro), micro, **settings) for micro in (8, 2)]
    for made, found in others:
        for key in ("loss", "grad_norm"):
            assert [e[key] for e in found] == pytest.approx([e[key] for e in curve], rel=1e-4), key
        close(weights(made), weights(whole))


def test_as_the_official_code_one_pair_at_a_time_is_dpo(tmp_path: Path) -> None:
    """One pair at a time Dr. DPO is exactly DPO, which is how the official code meets accumulation."""
    import trl

    import plait.align.trl as ours

    local, _ = trained(ours.DrDPOTrainer, tmp_path / "1", 1, beta_prime=0.5, compat="official")
    plain, _ = trained(trl.DPOTrainer, tmp_path / "2", 1)
    close(weights(local), weights(plain))
    exact, _ = trained(ours.DrDPOTrainer, tmp_path / "3", 1, beta_prime=0.5)
    assert any(not torch.allclose(v, weights(plain)[n], atol=1e-4) for n, v in weights(exact).items())


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "lora"),
    [("BetaDPOTrainer", {"drop": 0.25}, True), ("DrDPOTrainer", {}, False), ("CDPOTrainer", {}, True)],
)
def test_trains_evaluates_and_goes_on(tmp_path: Path, name: str, settings: dict[str, Any], lora: bool) -> None:
    import plait.align.trl as ours

    kind = getattr(ours, name)
    asked = {**settings, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 2}
    unbroken = trainer(kind, tmp_path, lora=lora, **asked)
    unbroken.train()
    history = [entry for entry in unbroken.state.log_history if "grad_norm" in entry]
    assert len(history) == 3
    assert all({"rewards/margins", "objective/beta", "loss"} <= entry.keys() for entry in history)
    resumed = trainer(kind, tmp_path, lora=lora, **asked)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.objective.state_dict() == unbroken.objective.state_dict()
    last = [entry for entry in resumed.state.log_history if "grad_norm" in entry][-1]
    for key in ("loss", "objective/beta", "grad_norm"):
        assert last[key] == pytest.approx(history[-1][key], rel=1e-5), key


def test_evaluation_changes_nothing(tmp_path: Path) -> None:
    import plait.align.trl as ours

    made = trainer(ours.BetaDPOTrainer, tmp_path, drop=0.5)
    made.train()
    before = json.dumps(made.objective.state_dict())
    first, second = made.evaluate(), made.evaluate()
    assert json.dumps(made.objective.state_dict()) == before
    assert first["eval_loss"] == second["eval_loss"]
    assert not any(key.startswith("eval_objective/") for key in first)
    assert made.objective.training


def test_another_objectives_checkpoint_is_refused(tmp_path: Path) -> None:
    import plait.align.trl as ours

    trainer(ours.BetaDPOTrainer, tmp_path, save_strategy="steps", save_steps=2).train()
    with pytest.raises(RunError, match="another objective"):
        trainer(ours.BetaDPOTrainer, tmp_path, alpha=0.1).train(resume_from_checkpoint=True)


# --- the contract -------------------------------------------------------------------------------------------------


def test_the_host_is_the_one_we_know() -> None:
    import trl

    import plait.align.trl as ours

    theirs = inspect.signature(trl.DPOTrainer.__init__).parameters
    assert list(inspect.signature(ours.ObjectiveDPOTrainer.__init__).parameters) == list(theirs)
    for method, arguments in (
        ("_compute_loss", ["self", "model", "inputs", "return_outputs"]),
        ("compute_ref_log_probs", ["self", "model", "inputs"]),
        ("get_batch_samples", ["self", "epoch_iterator", "num_batches", "device"]),
    ):
        assert list(inspect.signature(getattr(trl.DPOTrainer, method)).parameters) == arguments
    with pytest.raises(UsageError, match=r"TRL 1\.15\.9 is not supported; pip install \"trl>=1\.16,<1\.17\""):
        check_version("1.15.9")
    with pytest.raises(UsageError, match=r"TRL 2\.0 is not supported"):
        check_version("2.0")


def test_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import trl
    import trl.trainer.base_trainer as base

    import plait.align.trl as ours

    sent = []
    monkeypatch.setattr(base, "send_telemetry", lambda **facts: sent.append(facts))
    monkeypatch.delenv("CI", raising=False)
    trainer(ours.DrDPOTrainer, tmp_path / "ours")
    assert not sent
    trainer(trl.DPOTrainer, tmp_path / "trl")
    assert sent  # the switch is where we think it is


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_type": ["aot"]}, "loss_type 'aot'"),
        ({"loss_type": ["ipo"], "label_smoothing": 0.1}, "label_smoothing with the ipo loss"),
        ({"use_weighting": True}, "use_weighting"),
        ({"f_divergence_type": "js_divergence"}, "f_divergence_type"),
        ({"disable_dropout": False, "gradient_accumulation_steps": 2}, "dropout over several micro-batches"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    import plait.align.trl as ours

    with pytest.raises(UsageError, match=words):
        ours.DrDPOConfig(str(tmp_path), bf16=False, use_cpu=True, activation_checkpointing=False, **settings)


def test_settings_are_checked_and_the_configuration_is_ours(tmp_path: Path) -> None:
    import trl

    import plait.align.trl as ours

    quiet = {"bf16": False, "use_cpu": True, "activation_checkpointing": False}
    for name, settings in (("drop", {"drop": 1.0}), ("scale", {"scale": "cooked"}), ("compat", {"compat": "trl"})):
        with pytest.raises(ValueError, match=name):
            ours.BetaDPOConfig(str(tmp_path), **settings, **quiet)
    with pytest.raises(UsageError, match="needs its own configuration, not DPOConfig"):
        ours.DrDPOTrainer(language_model(), args=trl.DPOConfig(str(tmp_path), **quiet))


def test_settings_come_from_a_command_line(tmp_path: Path) -> None:
    from trl import TrlParser

    import plait.align.trl as ours

    words = ["--output_dir", str(tmp_path), "--drop", "0.4", "--compat", "official", "--bf16", "false"]
    (args,) = TrlParser((ours.BetaDPOConfig,)).parse_args_and_config(
        [*words, "--use_cpu", "true", "--activation_checkpointing", "false"]
    )
    assert (args.drop, args.compat, args.alpha) == (0.4, "official", 0.6)
