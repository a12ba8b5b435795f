from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from plait.errors import ModelError, UsageError
from plait.models import LanguageModel, LoRA, adapter_vector, attach_lora, sequence_logprobs, set_adapter_vector

Make = Callable[..., LanguageModel]

PROMPTS = ["the ab", "a", "1, 2, 3 and then", "the ab"]
COMPLETIONS = [" the the end", "b", "", " 🙂 and much more text than the others have"]


def naive(lm: LanguageModel, prompt: list[int], completion: list[int]) -> list[float]:
    ids = prompt + completion
    scores = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [float(scores[i - 1, ids[i]].detach()) for i in range(len(prompt), len(ids))]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral-window"])
def test_equals_the_whole_forward_pass(make_lm: Make, family: str, batch_size: int) -> None:
    lm = make_lm(family)
    prompts, completions = [lm.encode(t) for t in PROMPTS], [lm.encode(t) for t in COMPLETIONS]
    found = sequence_logprobs(lm, prompts, completions, batch_size=batch_size)
    for ours, prompt, completion in zip(found, prompts, completions, strict=True):
        assert ours == pytest.approx(naive(lm, prompt, completion), abs=1e-4)
        assert len(ours) == len(completion)


def test_long_completions_are_scored_in_parts(make_lm: Make) -> None:
    lm = make_lm()
    prompts, completions = [[5], [6]], [list(range(7, 207)), list(range(7, 237))]
    for ours, p, c in zip(sequence_logprobs(lm, prompts, completions), prompts, completions, strict=True):
        assert ours == pytest.approx(naive(lm, p, c), abs=1e-4)


def test_models_that_cap_their_scores() -> None:
    from pathlib import Path

    from transformers import AutoModelForCausalLM, Gemma2Config

    from plait.models import ModelSource

    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(
        Gemma2Config(
            vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()  # fmt: skip
    tokenizer: Any = None
    lm = LanguageModel(network, tokenizer, ModelSource("capped", "folder", Path()))
    prompts, completions = [[5, 6], [7]], [[8, 9, 10], [11]]
    found = sequence_logprobs(lm, prompts, completions)
    states = network.model(torch.tensor([[5, 6, 8, 9, 10]])).last_hidden_state
    uncapped = network.lm_head(states)[0].log_softmax(-1)
    assert abs(float(uncapped[1, 8].detach()) - found[0][0]) > 1e-2
    for ours, p, c in zip(found, prompts, completions, strict=True):
        assert ours == pytest.approx(naive(lm, p, c), abs=1e-4)


def test_an_adapter_is_heard(make_lm: Make) -> None:
    lm = attach_lora(make_lm(), LoRA(), seed=0)
    before = sequence_logprobs(lm, [[5]], [[6, 7]])
    set_adapter_vector(lm, adapter_vector(lm) + 0.1)
    after = sequence_logprobs(lm, [[5]], [[6, 7]])
    assert after != before
    assert after[0] == pytest.approx(naive(lm, [5], [6, 7]), abs=1e-4)


def test_dropout_is_off_and_training_goes_on(make_lm: Make) -> None:
    lm = make_lm("gpt2")
    expected = sequence_logprobs(lm, [[5]], [[6, 7]])
    lm.model.train()
    assert sequence_logprobs(lm, [[5]], [[6, 7]]) == expected
    assert lm.model.training


@pytest.mark.parametrize(
    ("prompts", "completions", "batch_size"), [([[5]], [], 8), ([[]], [[5]], 8), ([[5]], [[5]], 0)]
)
def test_wrong_arguments(
    make_lm: Make, prompts: list[list[int]], completions: list[list[int]], batch_size: int
) -> None:
    with pytest.raises(UsageError):
        sequence_logprobs(make_lm(), prompts, completions, batch_size=batch_size)


def test_nothing_and_too_much(make_lm: Make) -> None:
    assert sequence_logprobs(make_lm(), [], []) == []
    with pytest.raises(ModelError, match="reads 512 at most"):
        sequence_logprobs(make_lm(), [[5] * 500], [[6] * 20])
