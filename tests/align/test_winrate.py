"""Win rates under a function, a reward model and a judge; positions swapped, ties half."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from align.tiny_models import byte_tokenizer
from plait.align.winrate import FunctionScorer, Judge, RewardModel, Scorer, win_rate
from plait.core.seeds import Seeds
from plait.errors import UsageError
from plait.llm import Scripted

SEEDS = Seeds(2)
SMALL: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2
}  # fmt: skip


def longest_or_none(prompts: list[str], answers: list[str]) -> list[float]:
    return [math.nan if answer == "?" else float(len(answer)) for answer in answers]


def too_few(prompts: list[str], answers: list[str]) -> list[float]:
    return [1.0]


def function(name: str) -> Scorer:
    return FunctionScorer(path=f"{__name__}:{name}")


def test_counts_and_ties() -> None:
    found = win_rate(
        ["p"] * 5,
        ["xx", "x", "yy", "?", "xxx"],
        ["x", "xx", "xx", "x", "x"],
        scorer=function("longest_or_none"),
        seeds=SEEDS,
    )
    assert (found.wins, found.ties, found.losses, found.unreadable, found.swayed) == (2, 1, 1, 1, 0)
    assert found.rate.value == pytest.approx(2.5 / 4)
    assert found.rate.low <= found.rate.value <= found.rate.high


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="2 prompts, 1 and 2 answers"):
        win_rate(["a", "b"], ["x"], ["y", "z"], scorer=function("longest_or_none"), seeds=SEEDS)
    with pytest.raises(UsageError, match="0 prompts"):
        win_rate([], [], [], scorer=function("longest_or_none"), seeds=SEEDS)
    with pytest.raises(UsageError, match="none of the 1 comparisons"):
        win_rate(["a"], ["?"], ["?"], scorer=function("longest_or_none"), seeds=SEEDS)
    with pytest.raises(UsageError, match="gave 1 numbers for 2 answers"):
        win_rate(["a"], ["x"], ["y"], scorer=function("too_few"), seeds=SEEDS)


def judge(*rules: tuple[str, str]) -> Judge:
    script = Scripted(rules=tuple({"pattern": p, "answer": f'{{"better": "{a}"}}'} for p, a in rules))
    return Judge(model=script, question="{prompt}|{first}|{second}")


def test_a_judge_that_judges() -> None:
    better = judge(("good.bad", "A"), ("bad.good", "B"), (".", "same"))
    found = win_rate(["p"] * 3, ["good", "bad", "good"], ["bad", "good", "good"], scorer=better, seeds=SEEDS)
    assert (found.wins, found.losses, found.ties, found.swayed) == (1, 1, 1, 0)


def test_a_judge_that_likes_what_it_reads_first_gives_no_wins() -> None:
    found = win_rate(["p"] * 4, ["good"] * 4, ["bad"] * 4, scorer=judge((".", "A")), seeds=SEEDS)
    assert (found.rate.value, found.ties, found.swayed) == (0.5, 4, 4)


def test_a_judge_that_is_sure_only_once_gives_a_tie() -> None:
    found = win_rate(["p"], ["good"], ["bad"], scorer=judge(("good.bad", "A"), (".", "same")), seeds=SEEDS)
    assert (found.rate.value, found.ties, found.swayed) == (0.5, 1, 0)


def test_the_judge_is_asked_in_both_orders_about_the_prompt() -> None:
    both = judge(("^Why\\|ours\\|theirs$", "A"), ("^Why\\|theirs\\|ours$", "B"))
    assert win_rate(["Why"], ["ours"], ["theirs"], scorer=both, seeds=SEEDS).wins == 1


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    tokenizer = byte_tokenizer(pad_token="</s>")
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(tokenizer), **SMALL, num_labels=1, pad_token_id=tokenizer.pad_token_id)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_reward_model_scores_prompt_and_answer(classifier: Path) -> None:
    model, tokenizer = LlamaForSequenceClassification.from_pretrained(classifier).eval(), byte_tokenizer()
    with torch.no_grad():
        by_hand = [
            float(model(torch.tensor([tokenizer.encode("Why? " + text)])).logits[0, 0]) for text in ("because", "no")
        ]
    assert by_hand[0] != by_hand[1]
    for size in (1, 2):
        scorer = RewardModel(model=str(classifier), batch_size=size)
        found = win_rate(["Why? "] * 2, ["because", "no"], ["no", "no"], scorer=scorer, seeds=SEEDS)
        assert (found.wins, found.losses, found.ties) == ((1, 0, 1) if by_hand[0] > by_hand[1] else (0, 1, 1))


def test_a_classifier_of_several_classes_is_no_reward_model(classifier: Path, tmp_path: Path) -> None:
    config = LlamaConfig(vocab_size=257, **SMALL, num_labels=3)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="3 outputs"):
        win_rate(["a"], ["x"], ["y"], scorer=RewardModel(model=str(tmp_path)), seeds=SEEDS)
