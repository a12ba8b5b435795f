"""A scorer of quality, trained from preferences on a tiny model."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from align.tiny_models import save_tiny_language_model
from plait.align.confidence.online import CalibrationReward
from plait.align.confidence.reward_model import QualityModel, load_quality_model, train_quality_model
from plait.align.confidence.rewards import ConfidenceReward
from plait.errors import DataError, UsageError


def pairs(count: int, *, seed: int) -> list[dict[str, Any]]:
    """Answers in capitals are preferred; the confidence says the opposite."""
    draw = random.Random(seed)
    records: list[dict[str, Any]] = []
    for _ in range(count):
        good, bad = ("".join(draw.choices(letters, k=5)) for letters in ("CDEFGHI", "cdefghi"))
        records.append(
            {
                "prompt": f"{draw.randrange(100)}?",
                "chosen": f" {good}\n### Confidence: 0.1",
                "rejected": f" {bad}\n### Confidence: 0.9",
            }
        )
    return records


def train(folder: Path, *, steps: int = 30) -> QualityModel:
    base = str(save_tiny_language_model(folder / "base"))
    return train_quality_model(
        base, pairs(64, seed=0), folder / "out", steps=steps, learning_rate=3e-3, longest=32, use_cpu=True
    )


@pytest.mark.filterwarnings("ignore")  # of TRL and what it imports
def test_it_prefers_what_was_preferred_and_can_be_saved(tmp_path: Path) -> None:
    heldout = pairs(60, seed=1)
    untrained = train(tmp_path, steps=1).accuracy(heldout)
    scorer = train(tmp_path)
    found = scorer.accuracy(heldout)
    assert found.low > max(0.85, untrained.value)
    scorer.save(tmp_path / "saved")
    again = load_quality_model(str(tmp_path / "saved"))
    asked = ["7?", "7?"], [" HIDE", " cede"]
    assert again.score(*asked) == pytest.approx(scorer.score(*asked), abs=1e-5)

    reward = CalibrationReward(ConfidenceReward(kind="order"), quality=again.quality, alpha=0.0)
    earned = reward(["7?", "7?"], [" HIDE\n### Confidence: 0", " cede\n### Confidence: 1"])
    assert earned == pytest.approx(again.score(*asked), abs=1e-5)


@pytest.mark.filterwarnings("ignore")  # of TRL and what it imports
@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([], "no preference records"),
        ([{"prompt": "a", "chosen": " b", "rejected": ""}], "record 0"),
        ([{"prompt": "a" * 40, "chosen": " b", "rejected": " c"}], "longest is 32"),
        ([{"prompt": [{"role": "user", "content": "a"}], "chosen": [], "rejected": []}], "record 0"),
    ],
)
def test_what_cannot_be_used_is_refused(records: list[dict[str, Any]], text: str, tmp_path: Path) -> None:
    base = str(save_tiny_language_model(tmp_path / "base"))
    with pytest.raises(DataError, match=text):
        train_quality_model(base, records, tmp_path / "out", steps=1, longest=32, use_cpu=True)


def test_a_classifier_of_several_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 outputs"):
        load_quality_model(str(save_tiny_language_model(tmp_path)))
