"""Tiny random models with a real byte-level tokenizer, as objects, folders and GGUF files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

from plait.models import LanguageModel, ModelSource

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"]
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "a"), ("Ċ", "Ċ"), ("Ġ", "Ġ"), ('"', ":"), ("{", '"'), ("a", "b")]
VOCABULARY = SPECIAL + ALPHABET + ["".join(m) for m in MERGES]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(VOCABULARY)}, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=SPECIAL[0],
        bos_token=SPECIAL[1],
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[2],
        chat_template=TEMPLATE,
        extra_special_tokens=[SPECIAL[3]],
    )


def make_network(family: str, *, seed: int = 0) -> Any:
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    config = {
        "llama": lambda: LlamaConfig(**sizes, tie_word_embeddings=True),
        "mistral-window": lambda: MistralConfig(**sizes, sliding_window=8),
        "gpt2": lambda: GPT2Config(
            vocab_size=len(VOCABULARY), n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=1, eos_token_id=2
        ),
    }[family]()
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:  # fresh weights predict nearly uniformly: make differences visible
                parameter.mul_(6)
    return network.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tiny matrices are slower on several threads, above all on a busy machine."""
    threads = torch.get_num_threads()
    if request.node.get_closest_marker("model") is None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_lm() -> Callable[..., LanguageModel]:
    def make(family: str = "llama", *, seed: int = 0) -> LanguageModel:
        return LanguageModel(make_network(family, seed=seed), make_tokenizer(), ModelSource("tiny", "folder", Path()))

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PLAIT_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny-model"
    make_network("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    from gguf import GGUFWriter, TokenType

    path = tmp_path / "tiny.F32.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(8)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([TokenType.CONTROL if t in SPECIAL else TokenType.NORMAL for t in VOCABULARY])
    writer.add_token_merges([" ".join(m) for m in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(VOCABULARY), 32), "output_norm": (32,)}
    for i in range(2):
        shapes |= {f"blk.{i}.attn_norm": (32,), f"blk.{i}.ffn_norm": (32,), f"blk.{i}.attn_output": (32, 32)}
        shapes |= {f"blk.{i}.attn_q": (32, 32), f"blk.{i}.attn_k": (16, 32), f"blk.{i}.attn_v": (16, 32)}
        shapes |= {f"blk.{i}.ffn_gate": (64, 32), f"blk.{i}.ffn_up": (64, 32), f"blk.{i}.ffn_down": (32, 64)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
