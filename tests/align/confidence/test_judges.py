"""Scorers of quality that are models."""

from __future__ import annotations

import asyncio

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from align.tiny_models import byte_tokenizer
from plait.align.confidence.judges import judge_answer, reward_scores
from plait.errors import LLMError
from plait.llm import Scripted


def judged(reply: str, *, answer: str = "Paris") -> tuple[bool, str]:
    model = Scripted(answers=(reply,)).open()
    verdict = asyncio.run(judge_answer(model, question="Capital?", answer=answer, reference="Paris"))
    return verdict, model.calls[0].messages[-1]["content"]


def test_verdicts_and_what_the_judge_sees() -> None:
    verdict, seen = judged('{"correct": true}', answer="Paris\n### Confidence: 0.9")
    assert verdict
    assert "0.9" not in seen
    assert not judged('{"correct": false}')[0]


@pytest.mark.parametrize("reply", ["yes", "[true]", '{"correct": 1}', "{}"])
def test_what_is_no_verdict_is_an_error(reply: str) -> None:
    with pytest.raises(LLMError):
        judged(reply)


def test_a_reward_model_does_not_see_the_confidence() -> None:
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
    )
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    sure, unsure, other = reward_scores(
        model, tokenizer, ["Q?"] * 3, ["yes\n### Confidence: 0.9", "yes\n### Confidence: 0.1", "no"]
    )
    assert sure == unsure != other
