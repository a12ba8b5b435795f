from __future__ import annotations

import numpy as np
import pytest

from align.tiny_models import save_tiny_language_model
from plait.align.noise.doctor import examine
from plait.align.noise.margins import model_margins, trained_margins
from plait.core.seeds import Seeds

RECORDS = [{"id": f"r{n}", "prompt": f"q{n}: ", "chosen": f"aaa{n % 3}", "rejected": f"zzzz{n % 5}"} for n in range(32)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_language_model(tmp_path_factory.mktemp("tiny")))


@pytest.mark.parametrize("per_token", [True, False])
def test_margins_of_a_model_as_it_is_rank_like_its_log_probabilities(folder: str, per_token: bool) -> None:
    from plait.align.evaluate import score_pairs
    from plait.align.pairs import tokenise_pairs
    from plait.models import load

    lm = load(folder)
    scores = score_pairs(lm.model, tokenise_pairs(RECORDS, tokenizer=lm.tokenizer).pairs)
    raw = scores.per_token() if per_token else scores.summed()
    found = model_margins(RECORDS, model=folder, per_token=per_token)
    assert list(found) == [r["id"] for r in RECORDS]
    values = np.array(list(found.values()))
    factor = float(values @ raw / (raw @ raw))
    assert factor >= 0
    np.testing.assert_allclose(values, factor * raw, atol=1e-9)


def test_margins_by_training_on_the_other_fold(folder: str) -> None:
    told: list[str] = []
    found = trained_margins(
        RECORDS,
        model=folder,
        epochs=6,
        learning_rate=5e-3,
        seeds=Seeds(0),
        on_progress=lambda what, _done, _total: told.append(what),
    )
    assert set(found) == {r["id"] for r in RECORDS}
    # What one fold prefers, the other does too: all margins are positive without a label having vouched for itself.
    assert np.mean([m > 0 for m in found.values()]) > 0.9
    assert "training fold 2 of 2" in told
    assert len(examine(RECORDS, margins=found, seeds=Seeds(0)).diagnoses) == 32
