"""The quality classifier: features by hand, learning that generalises, files that are checked."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.ops.quality.classifier import QualityClassifierFilter
from plait.data.quality import FEATURES, QualityModel, hashed_words, load, save, train
from plait.errors import DataError

GOOD = [f"The history of the {w} is described in chapter {i} of this book." for i, w in enumerate(["sea", "moon"] * 40)]
BAD = [f"BUY cheap {w} now click here {i} !!! free free free" for i, w in enumerate(["pills", "watches"] * 40)]


def test_words_are_runs_without_blanks_in_lower_case():
    features, starts = hashed_words(pl.Series(["One two\tTWO", "", "one"]))
    assert starts.tolist() == [0, 3, 3, 4]
    assert features[1] == features[2]
    assert features[0] == features[3]
    assert ((features >= 0) & (features < FEATURES)).all()


def test_a_score_is_the_logistic_function_of_the_sum_of_weights():
    texts = pl.Series(["a b a", ""])
    features, _ = hashed_words(texts)
    weights = np.zeros(FEATURES, np.float32)
    weights[features[0]], weights[features[1]] = 0.5, -2.0
    scores = QualityModel(weights, 0.25, {}).scores(texts)
    assert scores == pytest.approx([1 / (1 + math.exp(-(0.5 - 2 + 0.5 + 0.25))), 1 / (1 + math.exp(-0.25))])


def test_it_learns_survives_the_disk_and_agrees_with_scikit_learn(tmp_path):
    from sklearn.linear_model import LogisticRegression

    from plait.data.quality import _matrix

    trained = train(GOOD, BAD, regularisation=1.0)
    assert trained.f1 == 1.0
    path = tmp_path / "quality.npz"
    save(trained.model, path)
    texts = pl.Series(["A book about the sea.", "free pills click now"])
    loaded = load(path)
    assert loaded.about["f1"] == 1.0
    assert loaded.scores(texts).tolist() == trained.model.scores(texts).tolist()
    reference = LogisticRegression(max_iter=100, C=1.0)
    everything = pl.Series([*GOOD, *BAD])
    reference.fit(_matrix(everything), [1] * len(GOOD) + [0] * len(BAD))
    mine = QualityModel(reference.coef_[0].astype(np.float32), float(reference.intercept_[0]), {}).scores(texts)
    assert mine == pytest.approx(reference.predict_proba(_matrix(texts))[:, 1], abs=1e-6)
    kept = QualityClassifierFilter(model=str(path))
    batch = Batch.of(texts.to_frame("text"))
    assert kept.keeps(batch, kept.measure(batch)).tolist() == [True, False]


def test_training_that_does_not_come_to_rest_is_said():
    assert train(GOOD, BAD, regularisation=1.0).settled
    drawn = np.random.default_rng(3).zipf(1.3, size=(200, 200)) % 80
    alike = [" ".join(map(str, words)) for words in drawn]
    mixed = train(alike[:100], alike[100:])
    assert not mixed.settled
    assert not mixed.model.about["settled"]


def test_pareto_keeps_as_often_as_the_distribution_says():
    texts = pl.Series("text", [f"text {i}" for i in range(20_000)])
    batch = Batch.of(texts.to_frame())
    op = QualityClassifierFilter(model="unused", keep="pareto")
    for score in (0.5, 0.9, 0.99):
        kept = op.keeps(batch, {"quality_score": np.full(len(texts), score)}).mean()
        # P(x > 1 - score) = (2 - score) ** -9 for the Lomax distribution of shape 9.
        assert kept == pytest.approx((2 - score) ** -9, abs=0.015)
    other = op.model_copy(update={"seed": 1})
    scores = {"quality_score": np.full(len(texts), 0.9)}
    assert (op.keeps(batch, scores) != other.keeps(batch, scores)).any()


def test_bad_files_and_too_few_texts_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such classifier"):
        load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match="not a quality classifier"):
        load(tmp_path / "text.npz")
    with pytest.raises(DataError, match="3 good texts"):
        train(GOOD[:3], BAD)


def test_damaged_files_are_refused_whatever_is_wrong_with_them(tmp_path):
    whole = tmp_path / "whole.npz"
    save(train(GOOD, BAD).model, whole)
    np.save(tmp_path / "array.npy", np.zeros(3))
    weights = np.zeros(FEATURES, np.float32)
    np.savez(tmp_path / "list.npz", weights=weights, bias=np.float64(0), about=np.array("[1]"))
    np.savez(tmp_path / "objects.npz", weights=np.array([{}]), bias=np.float64(0), about=np.array("{}"))
    damaged = {
        "empty": b"",
        "cut": whole.read_bytes()[:-20],
        "changed": whole.read_bytes()[:300] + bytes(50) + whole.read_bytes()[350:],
        "array": (tmp_path / "array.npy").read_bytes(),
        "list": (tmp_path / "list.npz").read_bytes(),
        "objects": (tmp_path / "objects.npz").read_bytes(),
    }
    for name, data in damaged.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(data)
        with pytest.raises(DataError, match="not a quality classifier") as refused:
            load(path)
        assert "you trust" not in str(refused.value)
    np.savez(tmp_path / "nan.npz", weights=weights * np.nan, bias=np.float64(0), about=np.array('{"format": 1}'))
    with pytest.raises(DataError, match="not all numbers"):
        load(tmp_path / "nan.npz")


def test_a_classifier_trained_again_is_read_again(tmp_path):
    path = tmp_path / "quality.npz"
    op, batch = QualityClassifierFilter(model=str(path)), Batch.of_texts([GOOD[0], BAD[0]])
    save(train(GOOD, BAD).model, path)
    assert op.keeps(batch, op.measure(batch)).tolist() == [True, False]
    save(train(BAD, GOOD).model, path)
    assert op.keeps(batch, op.measure(batch)).tolist() == [False, True]
