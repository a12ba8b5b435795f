"""A random two-layer Llama over bytes, as a folder that `plait.models.load` reads; and owners' texts for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from plait.core.io import write_table
from plait.records import DOCUMENT


def save_tiny_model(folder: Path) -> Path:
    vocabulary = {token: n for n, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TOPICS = {
    "astronomy": "star planet orbit comet moon nebula telescope eclipse",
    "baking": "flour butter oven yeast dough crust sugar whisk",
    "chess": "rook bishop pawn gambit castle knight mate board",
}


def write_documents(path: Path, *, each: int = 30) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"{topic}-{i}",
            "text": "the " + " and the ".join(rng.choice(words.split(), size=8)) + ".",
            "source": "made",
            "group": topic,
        }
        for topic, words in TOPICS.items()
        for i in range(each)
    ]
    write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), path)
    return path
