"""Random two-layer models of several families, and random pairs, for exact comparisons."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from plait.align.pairs import TokenPair

VOCABULARY = 97
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def configuration(family: str) -> PretrainedConfig:
    if family == "gpt2":
        return GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=1, eos_token_id=2
        )
    if family == "gemma":
        return GemmaConfig(**_SIZES, head_dim=8)
    if family == "mistral-window":
        return MistralConfig(**_SIZES, sliding_window=6)
    return {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](**_SIZES)


def tiny_model(family: str = "llama", *, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(configuration(family), attn_implementation="sdpa")
    # Freshly initialised weights give nearly uniform predictions: make differences visible.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    return model.eval()


def byte_tokenizer(**special: str) -> Any:
    """One token per byte, plus the merge of a and b: as real vocabularies, it can merge over a boundary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate([*alphabet, "ab"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, **({"eos_token": "</s>"} | special))


def save_tiny_language_model(folder: Path) -> Path:
    """A random Llama over bytes, as a folder that `plait.models.load` reads."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(**(_SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 512}))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def random_pairs(count: int, *, seed: int = 0, longest: int = 12) -> list[TokenPair]:
    draw = random.Random(seed)

    def tokens() -> tuple[int, ...]:
        return tuple(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(1, longest)))

    return [TokenPair(f"pair-{n}", tokens(), tokens(), tokens()) for n in range(count)]


def lora(model: Any, *, seed: int = 0, scale: float = 0.0, dropout: float = 0.0) -> Any:
    """A peft adapter around a tiny Llama; ``scale`` > 0 moves it away from its base."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model.requires_grad_(False)
    settings = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    with warnings.catch_warnings():
        # peft 0.21 reads a property that transformers 5.23 has renamed.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        adapted = get_peft_model(model, settings)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.add_(scale * torch.randn_like(parameter))
    return adapted.eval()
