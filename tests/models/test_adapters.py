from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from plait.errors import ModelError, UsageError
from plait.models import (
    LanguageModel,
    LoRA,
    adapter_vector,
    attach_lora,
    load_adapter,
    save_adapter,
    sequence_logprobs,
    set_adapter_vector,
    without_adapter,
)

Make = Callable[..., LanguageModel]

# per target and layer: rank x inputs + outputs x rank, with 32 inputs and 32 (q) or 16 (v) outputs
SIZE = 2 * ((8 * 32 + 32 * 8) + (8 * 32 + 16 * 8))


def trained(make_lm: Make, *, seed: int = 3) -> LanguageModel:
    lm = attach_lora(make_lm(), LoRA(), seed=seed)
    set_adapter_vector(lm, adapter_vector(lm) + np.random.default_rng(0).normal(size=SIZE).astype(np.float32) / 10)
    return lm


def speaks(lm: LanguageModel) -> list[list[float]]:
    return sequence_logprobs(lm, [[5, 6]], [[7, 8, 9]])


def test_fresh_adapter_changes_nothing_and_alone_is_trained(make_lm: Make) -> None:
    expected = speaks(make_lm())
    lm = attach_lora(make_lm(), LoRA(), seed=3)
    assert speaks(lm) == expected
    asked = [n for n, p in lm.model.named_parameters() if p.requires_grad]
    assert len(asked) == 8
    assert all("lora_" in n for n in asked)
    assert adapter_vector(lm).shape == (SIZE,)


def test_start_depends_on_the_seed_alone(make_lm: Make) -> None:
    torch.manual_seed(1)
    first = adapter_vector(attach_lora(make_lm(), LoRA(), seed=3))
    torch.manual_seed(2)
    lm = make_lm()
    state = torch.get_rng_state()
    again = adapter_vector(attach_lora(lm, LoRA(), seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, adapter_vector(attach_lora(make_lm(), LoRA(), seed=4)))


def test_saved_adapter_is_stable_in_bytes_and_comes_back(make_lm: Make, tmp_path: Path) -> None:
    lm = trained(make_lm)
    save_adapter(lm, tmp_path / "a")
    save_adapter(trained(make_lm), tmp_path / "b")
    back = load_adapter(make_lm(), tmp_path / "a")
    save_adapter(back, tmp_path / "c")
    files = ["adapter_config.json", "adapter_model.safetensors"]
    for folder in "abc":
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == files
        for name in files:
            assert (tmp_path / folder / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    assert np.array_equal(adapter_vector(back), adapter_vector(lm))
    assert speaks(back) == speaks(lm)
    assert not any(p.requires_grad for p in back.model.parameters())


def test_saved_settings_name_the_model_and_no_path(make_lm: Make, tmp_path: Path) -> None:
    save_adapter(trained(make_lm), tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "tiny"
    assert (settings["r"], settings["lora_alpha"], settings["target_modules"]) == (8, 16.0, ["q_proj", "v_proj"])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_reads_ours_and_we_read_pefts(make_lm: Make, tmp_path: Path) -> None:
    from peft import PeftModel

    lm = trained(make_lm)
    save_adapter(lm, tmp_path / "ours")
    theirs = PeftModel.from_pretrained(make_lm().model, tmp_path / "ours")
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(theirs(ids).logits, lm.model(ids).logits)
    theirs.save_pretrained(str(tmp_path / "theirs"), save_embedding_layers=False)
    assert speaks(load_adapter(make_lm(), tmp_path / "theirs")) == speaks(lm)


def test_loaded_adapter_may_be_trained_further(make_lm: Make, tmp_path: Path) -> None:
    save_adapter(trained(make_lm), tmp_path)
    lm = load_adapter(make_lm(), tmp_path, trainable=True)
    assert all(("lora_" in n) == p.requires_grad for n, p in lm.model.named_parameters())


def test_vector_round_trip_and_order(make_lm: Make) -> None:
    lm = trained(make_lm)
    vector = adapter_vector(lm)
    assert vector.dtype == np.float32
    before = speaks(lm)
    set_adapter_vector(lm, np.zeros_like(vector))
    assert speaks(lm) == speaks(make_lm())
    set_adapter_vector(lm, vector.astype(np.float64))
    assert speaks(lm) == before
    names = sorted(n for n, _ in lm.model.named_parameters() if "lora_" in n)
    first = dict(lm.model.named_parameters())[names[0]]
    assert np.array_equal(vector[: first.numel()], first.detach().numpy().ravel())


def test_vector_is_a_copy(make_lm: Make) -> None:
    lm = trained(make_lm)
    vector = adapter_vector(lm)
    kept = vector.copy()
    set_adapter_vector(lm, vector * 2)
    assert np.array_equal(vector, kept)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.full(SIZE, np.nan), np.zeros((SIZE, 1))])
def test_wrong_vectors(make_lm: Make, wrong: np.ndarray) -> None:
    lm = trained(make_lm)
    before = adapter_vector(lm)
    with pytest.raises(UsageError):
        set_adapter_vector(lm, wrong)
    assert np.array_equal(adapter_vector(lm), before)


def test_without_adapter_is_the_base_model(make_lm: Make) -> None:
    lm = trained(make_lm)
    adapted = speaks(lm)
    with without_adapter(lm) as reference:
        assert speaks(reference) == speaks(make_lm())
    assert speaks(lm) == adapted
    with pytest.raises(KeyError), without_adapter(lm):
        raise KeyError
    assert speaks(lm) == adapted
    plain = make_lm()
    with without_adapter(plain) as reference:
        assert reference is plain


def test_gpt2_layers_can_be_targets(make_lm: Make) -> None:
    lm = attach_lora(make_lm("gpt2"), LoRA(rank=2, targets=("c_attn",)), seed=0)
    assert adapter_vector(lm).shape == (2 * (2 * 32 + 96 * 2),)


def test_unknown_targets_are_named(make_lm: Make) -> None:
    with pytest.raises(ModelError, match=r"no linear layer called c_attn.*q_proj"):
        attach_lora(make_lm(), LoRA(targets=("q_proj", "c_attn")), seed=0)


def test_one_adapter_at_a_time(make_lm: Make, tmp_path: Path) -> None:
    base = make_lm()
    lm = attach_lora(base, LoRA(), seed=0)
    save_adapter(lm, tmp_path)
    for again in (lm, base):
        with pytest.raises(ModelError, match="has an adapter already"):
            attach_lora(again, LoRA(), seed=0)
        with pytest.raises(ModelError, match="has an adapter already"):
            load_adapter(again, tmp_path)


def test_no_adapter(make_lm: Make, tmp_path: Path) -> None:
    for call in (adapter_vector, lambda lm: save_adapter(lm, tmp_path)):
        with pytest.raises(ModelError, match="has no adapter"):
            call(make_lm())


def test_folders_that_are_no_adapter(make_lm: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no adapter_config\.json") as caught:
        load_adapter(make_lm(), tmp_path)
    assert caught.value.code == "model.not-an-adapter"
    save_adapter(trained(make_lm), tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ModelError, match="cannot be read"):
        load_adapter(make_lm(), tmp_path)


def test_adapter_of_another_model(make_lm: Make, tmp_path: Path) -> None:
    save_adapter(attach_lora(make_lm("gpt2"), LoRA(targets=("c_attn",)), seed=0), tmp_path / "gpt2")
    base = make_lm()
    with pytest.raises(ModelError, match="no place in") as caught:
        load_adapter(base, tmp_path / "gpt2")
    assert caught.value.code == "model.adapter-mismatch"
    save_adapter(trained(make_lm), tmp_path / "wide")
    settings = tmp_path / "wide" / "adapter_config.json"
    settings.write_text(settings.read_text().replace('"r": 8', '"r": 4'))
    with pytest.raises(ModelError, match="cannot be put on tiny"):
        load_adapter(make_lm(), tmp_path / "wide")


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"dropout": 1.0}, {"targets": ()}, {"r": 8}])
def test_wrong_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LoRA(**wrong)


def test_adapted_model_speaks(make_lm: Make) -> None:
    from plait.models import generate

    lm = trained(make_lm)
    [ours] = generate(lm, [[5, 6]], max_new_tokens=12, seeds=[0])
    ids = torch.tensor([[5, 6]])
    theirs = lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert list(ours.token_ids) == theirs[0, 2:].tolist()
