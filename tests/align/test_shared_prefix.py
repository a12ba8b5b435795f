"""The shared-prefix forward equals separate forwards, in values and gradients, for several families."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, Gemma2Config, MambaConfig, Qwen2Config

from align.tiny_models import VOCABULARY, lora, random_pairs, save_tiny_language_model, tiny_model
from plait.align.branch_mask import dense_mask
from plait.align.pairs import TokenPair, tokenise_pairs
from plait.align.shared_prefix import choose_layout, lay_out, pair_logprobs, why_two_branches
from plait.errors import ModelError

FAMILIES = ["llama", "qwen2", "gpt2", "gemma"]


def separate(model: Any, pair: TokenPair) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition: one plain forward per completion, no padding, full log-softmax."""

    def one(completion: tuple[int, ...]) -> torch.Tensor:
        ids = torch.tensor([[*pair.prompt, *completion]])
        logprobs = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        first = len(pair.prompt) - 1
        return logprobs[torch.arange(first, ids.shape[1] - 1), ids[0, first + 1 :]].sum()

    return one(pair.chosen), one(pair.rejected)


def gradient(model: Any, value: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    value.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["shared_prefix", "two_branch"])
def test_equals_separate_forwards(family: str, layout: Any) -> None:
    model, pairs = tiny_model(family), random_pairs(6)
    expected = [separate(model, pair) for pair in pairs]
    chosen, rejected = pair_logprobs(model, lay_out(pairs, layout=layout))
    torch.testing.assert_close(chosen, torch.stack([c for c, _ in expected]), atol=1e-4, rtol=0)
    torch.testing.assert_close(rejected, torch.stack([r for _, r in expected]), atol=1e-4, rtol=0)
    assert float(chosen.detach().std()) > 1  # the comparison is not one of constants


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_separate_forwards(family: str) -> None:
    model, pairs = tiny_model(family), random_pairs(5, seed=3)
    weight = torch.linspace(-1, 2, 10)
    plain = sum(
        weight[2 * n] * c + weight[2 * n + 1] * r for n, (c, r) in enumerate(separate(model, pair) for pair in pairs)
    )
    expected = gradient(model, torch.as_tensor(plain))
    chosen, rejected = pair_logprobs(model, lay_out(pairs))
    found = gradient(model, (weight[0::2] * chosen + weight[1::2] * rejected).sum())
    assert float(torch.cosine_similarity(found, expected, dim=0)) > 0.99999
    torch.testing.assert_close(found.norm(), expected.norm(), rtol=1e-4, atol=0)


def test_a_pair_does_not_depend_on_its_batch_mates() -> None:
    model, pairs = tiny_model(), random_pairs(7, seed=5)
    together, _ = pair_logprobs(model, lay_out(pairs))
    alone = torch.cat([pair_logprobs(model, lay_out([pair]))[0] for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_batch_on_one_side_of_which_tokens_differ_changes_only_that_side() -> None:
    """Changing a rejected text must not move the chosen one, nor the other way round."""
    model = tiny_model()
    one = TokenPair("a", (5, 6, 7), (8, 9), (10, 11))
    other = TokenPair("a", (5, 6, 7), (8, 9), (90, 91))
    (c1, r1), (c2, r2) = (pair_logprobs(model, lay_out([pair])) for pair in (one, other))
    torch.testing.assert_close(c1, c2, atol=1e-5, rtol=0)
    assert abs(float((r1 - r2).detach())) > 0.1


def test_one_row_holds_all_pairs_and_nothing_else() -> None:
    pairs = [TokenPair(str(n), (3,) * 2, (4,) * size, (5,) * size) for n, size in enumerate([9, 4, 4, 1, 1, 1])]
    batch = lay_out(pairs)
    assert batch.input_ids.shape == (1, 20 + 10 + 10 + 4 + 4 + 4)
    assert bool(batch.present.all())
    assert lay_out(pairs, layout="two_branch").input_ids.shape == (12, 11)


def test_layout_and_mask_by_hand() -> None:
    """[p p | c c | r][p | c | r]: r sees its prompt and itself, never c, and never the other pair."""
    batch = lay_out([TokenPair("a", (3, 4), (5, 6), (7,)), TokenPair("b", (3,), (8,), (9,))])
    seen = (dense_mask(batch.spans, dtype=torch.float32)[0, 0] == 0).long().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1, 0, 1],
    ]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2, 0, 1, 1]]
    assert batch.head_mask.long().tolist() == [[0, 1, 1, 0, 0, 1, 0, 0]]
    assert batch.predictors.tolist() == [0, 1, 0, 2, 2]
    assert batch.targets.tolist() == [5, 6, 7, 8, 9]
    assert batch.owners.tolist() == [0, 0, 1, 2, 3]


def test_head_runs_only_where_a_completion_token_is_predicted() -> None:
    model, pairs = tiny_model(), [TokenPair("a", tuple(range(3, 43)), (5, 6), (7, 8, 9))]
    seen: list[tuple[int, ...]] = []
    model.lm_head.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape)))
    pair_logprobs(model, lay_out(pairs))
    assert seen == [(4, VOCABULARY)]  # 5 tokens; the last prompt state predicts two of them


def test_sliding_window_falls_back_and_is_right() -> None:
    model, pairs = tiny_model("mistral-window"), [TokenPair("a", tuple(range(3, 15)), (20, 21), (30, 31, 32))]
    layout, why = choose_layout(model, longest=15)
    assert layout == "two_branch"
    assert "last 6 tokens" in why
    expected = separate(model, pairs[0])
    chosen, rejected = pair_logprobs(model, lay_out(pairs, layout=layout))
    torch.testing.assert_close(torch.cat([chosen, rejected]), torch.stack(expected), atol=1e-4, rtol=0)
    wrong, _ = pair_logprobs(model, lay_out(pairs, layout="shared_prefix"))
    assert abs(float((wrong - expected[0]).detach())) > 1e-3  # the fall-back is needed


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (BloomConfig(), "ALiBi"),
        (MambaConfig(), "recurrent"),
        (Qwen2Config(use_sliding_window=True, sliding_window=4, max_window_layers=0), "last 4 tokens"),
    ],
)
def test_architectures_where_it_is_not_exact(config: Any, word: str) -> None:
    config._attn_implementation = "sdpa"
    model = torch.nn.Module()
    model.config = config
    assert word in why_two_branches(model, longest=100)


def test_a_window_that_covers_the_branch_needs_no_fall_back() -> None:
    model = tiny_model("mistral-window")
    assert why_two_branches(model, longest=6) == ""
    pairs = [TokenPair("a", (3, 4), (20, 21), (30, 31, 32, 33))]
    expected = separate(model, pairs[0])
    torch.testing.assert_close(torch.cat(pair_logprobs(model, lay_out(pairs))), torch.stack(expected))


def test_attention_without_custom_masks_falls_back() -> None:
    model = tiny_model()
    model.config._attn_implementation = "flash_attention_2"
    assert "takes no custom mask" in why_two_branches(model, longest=5)


def test_a_network_without_a_configuration_is_refused() -> None:
    with pytest.raises(ModelError, match="no config"):
        why_two_branches(torch.nn.Linear(1, 1), longest=5)


def test_float64_agrees_to_rounding() -> None:
    # GPT-2, since the norms of the others work in float32 whatever the model's precision is.
    model, pairs = tiny_model("gpt2").double(), random_pairs(5, seed=2)
    weight = torch.linspace(-1, 2, 10, dtype=torch.float64)

    def both(layout: Any) -> tuple[torch.Tensor, torch.Tensor]:
        values = torch.stack(pair_logprobs(model, lay_out(pairs, layout=layout)), dim=1).flatten()
        return values.detach(), gradient(model, values @ weight)

    (shared, by_shared), (plain, by_plain) = both("shared_prefix"), both("two_branch")
    torch.testing.assert_close(shared, plain, atol=1e-9, rtol=0)
    torch.testing.assert_close(by_shared, by_plain, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_eager_attention_takes_the_dense_mask(family: str) -> None:
    model, pairs = tiny_model(family), random_pairs(5)
    expected = torch.cat(pair_logprobs(model, lay_out(pairs)))
    model.set_attn_implementation("eager")
    torch.testing.assert_close(torch.cat(pair_logprobs(model, lay_out(pairs))), expected, atol=1e-4, rtol=0)


def test_gemma2_with_its_soft_caps_and_window() -> None:
    """Scores and logits are capped, and every other layer sees the last eight tokens only."""
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "head_dim": 8, "sliding_window": 8}
    config = Gemma2Config(
        vocab_size=VOCABULARY, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, **sizes
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    short, long = random_pairs(4, longest=4), random_pairs(4, longest=12)
    for pairs, expected_layout in ((short, "shared_prefix"), (long, "two_branch")):
        layout, _ = choose_layout(model, longest=max(pair.longest_branch for pair in pairs))
        assert layout == expected_layout
        sides = zip(*(separate(model, pair) for pair in pairs), strict=True)
        found = torch.cat(pair_logprobs(model, lay_out(pairs, layout=layout)))
        torch.testing.assert_close(found, torch.cat([torch.stack(side) for side in sides]), atol=1e-4, rtol=0)


def test_gradient_checkpointing_changes_nothing() -> None:
    """Layers run again in the backward pass must see the same mask."""
    model, pairs = tiny_model(), random_pairs(4)
    expected = gradient(model, torch.cat(pair_logprobs(model, lay_out(pairs))).sum())
    model.activation_checkpointing_enable({"use_reentrant": False})
    calls: list[int] = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    found = gradient(model.train(), torch.cat(pair_logprobs(model, lay_out(pairs))).sum())
    assert len(calls) == 2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_lora_adapter_gets_the_same_gradients() -> None:
    model, pairs = lora(tiny_model(), scale=0.1), random_pairs(4)
    shared, plain = (
        gradient(model, torch.cat(pair_logprobs(model, lay_out(pairs, layout=layout))).sum())
        for layout in ("shared_prefix", "two_branch")
    )
    assert 0 < shared.numel() < 5_000
    torch.testing.assert_close(shared, plain, atol=1e-3, rtol=1e-4)


def test_equals_trl_on_the_same_rows(tmp_path: Path) -> None:
    """TRL's own collator and forward, as `DPOTrainer` uses them for the reference model."""
    from trl import DPOConfig, DPOTrainer

    draw = random.Random(4)
    words = ["sea", "sky", " blue", " green", " and", " not", " ab", "a", "b"]

    def text() -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(1, 8)))

    rows = [{"prompt": text(), "chosen": text() + "!", "rejected": text() + "?"} for _ in range(6)]
    save_tiny_language_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    pairs = tokenise_pairs(rows, tokenizer=tokenizer).pairs
    with torch.no_grad():
        found = torch.stack(pair_logprobs(model.eval(), lay_out(pairs)), dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL sets arguments of its host that the host has renamed
        args = DPOConfig(
            output_dir=str(tmp_path / "out"),
            precompute_ref_log_probs=True,
            per_device_train_batch_size=3,
            bf16=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            report_to="none",
            disable_tqdm=True,
        )
        host = DPOTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    known = host.train_dataset
    assert [tuple(ids) for ids in known["prompt_ids"]] == [pair.prompt for pair in pairs]
    expected = torch.tensor(list(zip(known["ref_chosen_logps"], known["ref_rejected_logps"], strict=True)))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert float(found.std()) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("layout", ["shared_prefix", "two_branch"])
def test_on_a_gpu_in_bfloat16(layout: Any) -> None:
    model, pairs = tiny_model(), random_pairs(6)
    expected = torch.cat(pair_logprobs(model, lay_out(pairs)))
    exact = gradient(model, expected.sum())
    model, batch = model.to("cuda"), lay_out(pairs, layout=layout).to("cuda")
    torch.testing.assert_close(torch.cat(pair_logprobs(model, batch)).cpu(), expected, atol=1e-2, rtol=0)
    with torch.autocast("cuda", torch.bfloat16):
        found = torch.cat(pair_logprobs(model, batch))
    rounded = gradient(model, found.sum()).cpu()
    torch.testing.assert_close(found.cpu(), expected, atol=2, rtol=0.05)
    assert float(torch.cosine_similarity(rounded, exact, dim=0)) > 0.98


@pytest.mark.model
def test_smollm2_equals_separate_forwards() -> None:
    from plait.models import load

    lm = load("smollm2-135m")
    texts = [
        ("Return the absolute value", " of the argument.", " of a number, but only when the moon is full and green."),
        ("A list of names, in the order in which", " they were given", " nothing at all happened"),
        ("Def", "ault is None.", "ine it again!"),
    ]
    records = [{"id": p, "prompt": p, "chosen": c, "rejected": r} for p, c, r in texts]
    pairs = tokenise_pairs(records, tokenizer=lm.tokenizer).pairs
    with torch.no_grad():
        found = torch.cat(pair_logprobs(lm.model, lay_out(pairs)))
        sides = zip(*(separate(lm.model, pair) for pair in pairs), strict=True)
        expected = torch.cat([torch.stack(side) for side in sides])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
