"""Confidence pairs, the exact distribution over confidences, and TRL's online trainers on a tiny model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from align.tiny_models import byte_tokenizer, save_tiny_language_model
from plait.align.confidence.arithmetic import additions
from plait.align.confidence.elicit import confidence_distribution, expected
from plait.align.confidence.offline import Graded, confidence_pairs, confidence_rewards
from plait.align.confidence.online import CalibrationReward
from plait.align.confidence.prompts import GRID, answered, ask, said
from plait.align.confidence.rewards import ConfidenceReward, order_reward
from plait.align.confidence.teach import format_records
from plait.align.pairs import tokenise_pairs
from plait.core.seeds import Seeds
from plait.models import load, sequence_logprobs


def exact(answer: str, row: dict[str, Any]) -> float:
    return float(answer.strip() == row["reference"])


def test_weighted_pairs_prefer_the_confidence_nearer_to_the_truth() -> None:
    right, wrong = confidence_rewards(np.array([1.0, 0.0]), kind="brier")
    for p in (0.23, 0.58, 0.91):
        for i, high in enumerate(GRID):
            for j, low in enumerate(GRID[:i]):
                # The stationary log-odds of high over low: log of the weights for it over those against it.
                odds = p * (right[i] - right[j]) / ((1 - p) * (wrong[j] - wrong[i]))
                assert (odds > 1) == (abs(high - p) < abs(low - p))


def test_the_closed_form_of_the_order_reward() -> None:
    rng = np.random.default_rng(0)
    q, c = rng.random(5), rng.random(5)
    rewards = confidence_rewards(q, kind="order")
    for low, high in ((0, 3), (4, 10)):
        found = [order_reward(q, np.r_[GRID[k], c[1:]])[0] for k in (low, high)]
        assert found[1] - found[0] == pytest.approx(rewards[0, high] - rewards[0, low])


def test_pairs_differ_in_the_confidence_alone() -> None:
    graded = [Graded("1 + 1", "2", 1.0), Graded("2 + 2", "5", 0.0)]
    records = confidence_pairs(graded, per_answer=5, seeds=Seeds(0))
    assert len(records) == 10
    assert np.mean([record["weight"] for record in records]) == pytest.approx(1)
    for record in records:
        one = graded[int(record["id"].split("-")[0])]
        assert record["prompt"] == ask(one.question) + answered(one.answer)
        chosen, rejected = float(record["chosen"]), float(record["rejected"])
        assert (chosen > rejected) == (one.quality == 1.0)
    tokens = tokenise_pairs(records, tokenizer=byte_tokenizer())
    assert not tokens.problems
    assert [pair.weight for pair in tokens.pairs] == [record["weight"] for record in records]


def test_format_and_additions() -> None:
    problems = additions(60, seeds=Seeds(1), exclude=frozenset({"3 + 4"}))
    assert "3 + 4" not in {one.question for one in problems}
    for one in problems:
        first, second = one.question.split(" + ")
        assert int(one.answer) == int(first) + int(second)
        assert len(first) == len(second) == one.digits
    [record] = format_records([("1 + 1", "2")], seeds=Seeds(0))
    assert record["prompt"] + record["completion"].split("Confidence:")[0] == ask("1 + 1") + " 2\n### "


def test_distribution_against_scoring_each_confidence(tmp_path: Path) -> None:
    lm = load(str(save_tiny_language_model(tmp_path)))
    [row] = confidence_distribution(lm, ["1 + 1"], ["2"])
    prompt = lm.encode(ask("1 + 1") + answered("2"))
    scores = [sum(sequence_logprobs(lm, [prompt], [lm.encode(said(c))])[0]) for c in GRID]
    odds = np.exp(scores)
    np.testing.assert_allclose(row, odds / odds.sum(), rtol=1e-4)
    assert expected(row[None])[0] == pytest.approx(float(row @ np.array(GRID)))


def test_questions_read_together_are_those_read_alone(tmp_path: Path) -> None:
    lm = load(str(save_tiny_language_model(tmp_path)))
    questions, answers = ["1 + 1", "20 + 3", "2 + 5", "4 + 4", "3 + 30"], ["2", "23", "7", "8", "3"]
    together = confidence_distribution(lm, questions, answers, batch_size=2)
    alone = [confidence_distribution(lm, [q], [a])[0] for q, a in zip(questions, answers, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert np.abs(np.diff(together, axis=0)).max() > 1e-4


def test_online_reward_by_hand() -> None:
    reward = CalibrationReward(ConfidenceReward(), quality=exact, alpha=lambda done: 2 * done)
    texts = ["4\n### Confidence: 0.5", "5\n### Confidence: 1", "4"]
    found = reward(
        ["2 + 2"] * 3, texts, reference=["4"] * 3, trainer_state=SimpleNamespace(global_step=5, max_steps=10)
    )
    assert found == [1 - 0.25, 0 - 1, 1 - 1]
    assert reward.statuses == {"ok": 2, "no marker": 1}


def test_online_reward_reads_conversations() -> None:
    reward = CalibrationReward(ConfidenceReward(kind="order", scope="prompt", standardise=False), quality=exact)
    turns = [[{"role": "assistant", "content": f"{a}\n### Confidence: {c}"}] for a, c in (("4", 1), ("5", 0))]
    assert reward([[{"role": "user", "content": "2 + 2"}]] * 2, turns, reference=["4", "4"]) == [2.0, 1.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of TRL and what it imports
@pytest.mark.parametrize("name", ["GRPO", "RLOO"])
def test_two_steps_in_trl(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    import trl
    from datasets import Dataset

    lm = load(str(save_tiny_language_model(tmp_path / "model")))
    lm.model.requires_grad_(True)
    lm.tokenizer.pad_token = lm.tokenizer.eos_token
    problems = additions(8, seeds=Seeds(0))
    rows = [{"prompt": ask(one.question), "reference": one.answer} for one in problems]
    reward = CalibrationReward(
        ConfidenceReward(kind="order", missing=-0.5), quality=lambda answer, row: float(len(answer))
    )
    args = getattr(trl, f"{name}Config")(
        str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        learning_rate=1e-2,
    )
    before = [p.detach().clone() for p in lm.network.parameters()]
    trainer = getattr(trl, f"{name}Trainer")(
        lm.network,
        reward_funcs=[reward],
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=lm.tokenizer,
    )
    trainer.train()
    assert sum(reward.statuses.values()) == 8
    assert trainer.state.global_step == 2
    assert any("rewards/calibration/mean" in entry for entry in trainer.state.log_history)
    assert any(not old.equal(new.detach()) for old, new in zip(before, lm.network.parameters(), strict=True))
