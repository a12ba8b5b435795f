"""A quality classifier that anybody can train: hashed words and logistic regression.

    trained = train(good_texts, bad_texts, seed=0)
    save(trained.model, Path("quality.npz"))
    scores = load(Path("quality.npz")).scores(texts)

Source: Data-Juicer (2309.02033), quality classifier: a blank-splitting tokenizer, term frequencies hashed to 2^18
features, logistic regression; the score is the probability of being a good text.
"""

from __future__ import annotations

import json
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plait.core.io.writers import atomic
from plait.core.optional import require
from plait.data import kernels
from plait.errors import DataError

FEATURES = 1 << 18
"""Size of the hashed vocabulary, as published (the default of Spark's HashingTF)."""

_FORMAT = 1
_ITERATIONS = 100


@dataclass(frozen=True)
class QualityModel:
    """A trained classifier.

    Args:
        weights: Of each feature, float32 ``[FEATURES]``.
        bias: Added to their sum.
        about: What it was trained on and how it did; plain data.
    """

    weights: np.ndarray
    bias: float
    about: Mapping[str, Any]

    def scores(self, texts: pl.Series) -> np.ndarray:
        """Probability that each text is good, float64 ``[texts]``."""
        features, starts = hashed_words(texts)
        sums = np.concatenate([[0.0], np.cumsum(self.weights[features], dtype=np.float64)])
        logits = sums[starts[1:]] - sums[starts[:-1]] + self.bias
        # tanh does not overflow where exp would.
        return (1 + np.tanh(logits / 2)) / 2


@dataclass(frozen=True)
class Trained:
    """A classifier and how it does on texts held out from training.

    Args:
        model: The classifier.
        precision: Of texts called good, the share that is, 0 to 1.
        recall: Of good texts, the share called so.
        f1: Their harmonic mean.
        held_out: How many texts these are measured on.
        settled: Whether training came to rest. It does not where texts of both sides have much the same words.
    """

    model: QualityModel
    precision: float
    recall: float
    f1: float
    held_out: int
    settled: bool


def hashed_words(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Feature of every word of all texts, int64 ``[words]``, and where each text starts, int64 ``[texts + 1]``.

    Words are runs of characters that are no blanks, in lower case, as Spark's Tokenizer splits them; the hash is ours.
    """
    words = texts.str.to_lowercase().str.extract_all(r"\S+")
    counts = words.list.len().to_numpy()
    flat = words.explode(empty_as_null=False, keep_nulls=False) if counts.any() else pl.Series([], dtype=pl.String)
    features = (kernels.hash_strings(flat) % np.uint64(FEATURES)).astype(np.int64)
    return features, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def train(
    good: Sequence[str], bad: Sequence[str], *, seed: int = 0, held_out: float = 0.1, regularisation: float = 0.0
) -> Trained:
    """Train a classifier.

    Args:
        good: Texts to learn from, for example of an encyclopedia and of books.
        bad: Texts of the raw crawl.
        seed: Chooses the texts held out.
        held_out: Share of each side kept for measuring, 0 to 1.
        regularisation: Strength of the quadratic penalty; none, as published.

    Raises:
        DataError: A side has fewer than ten texts.
    """
    linear_model = _sklearn("sklearn.linear_model")
    for name, side in (("good", good), ("bad", bad)):
        if len(side) < 10:
            raise DataError(
                f"there are {len(side)} {name} texts", code="data.too-few", hint="give some hundreds of each"
            )
    generator = np.random.default_rng(seed)
    texts = pl.Series([*good, *bad], dtype=pl.String)
    labels = np.repeat([1, 0], [len(good), len(bad)])
    test = np.zeros(len(labels), np.bool_)
    for label in (0, 1):
        own = np.flatnonzero(labels == label)
        test[generator.permutation(own)[: max(1, round(held_out * len(own)))]] = True
    penalty = {"C": 1 / regularisation} if regularisation else {"C": np.inf}
    fitted = linear_model.LogisticRegression(max_iter=_ITERATIONS, **penalty)
    with warnings.catch_warnings():  # that it did not settle is part of what is returned
        warnings.simplefilter("ignore", _sklearn("sklearn.exceptions").ConvergenceWarning)
        fitted.fit(_matrix(texts.filter(pl.Series(~test))), labels[~test])
    settled = bool(fitted.n_iter_[0] < _ITERATIONS)
    about = {"good": len(good), "bad": len(bad), "seed": seed, "regularisation": regularisation}
    model = QualityModel(fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0]), about)
    called = model.scores(texts.filter(pl.Series(test))) > 0.5
    return _measured(model, called, labels[test] == 1, settled=settled)


def _measured(model: QualityModel, called: np.ndarray, truly: np.ndarray, *, settled: bool) -> Trained:
    both = int((called & truly).sum())
    precision, recall = both / max(int(called.sum()), 1), both / max(int(truly.sum()), 1)
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    found = {"precision": precision, "recall": recall, "f1": f1, "held_out": len(truly), "settled": settled}
    about = {**model.about, **found}
    measured = QualityModel(model.weights, model.bias, about)
    return Trained(measured, precision, recall, f1, len(truly), settled)


def _sklearn(module: str) -> Any:
    return require(module, extra="data", feature="training a quality classifier")


def _matrix(texts: pl.Series) -> Any:
    """Term frequencies, sparse ``[texts, FEATURES]``."""
    sparse = require("scipy.sparse", extra="data", feature="training a quality classifier")
    features, starts = hashed_words(texts)
    matrix = sparse.csr_array((np.ones(len(features)), features, starts), shape=(len(texts), FEATURES))
    matrix.sum_duplicates()
    return matrix


def save(model: QualityModel, path: Path) -> None:
    """Write a classifier as a file of plain arrays; it is there when it is whole."""
    about = json.dumps({**model.about, "format": _FORMAT}, sort_keys=True)
    with atomic(path) as out:
        np.savez_compressed(out, weights=model.weights, bias=np.float64(model.bias), about=np.array(about))


def load(path: Path) -> QualityModel:
    """Read a classifier that `save` wrote.

    Raises:
        DataError: There is no such file, or it is something else, or damaged.
    """
    if not path.exists():
        raise DataError(
            "no such classifier", code="data.not-found", where=str(path), hint="train one: plait data quality"
        )
    try:
        with path.open("rb") as file:
            # NumPy takes what begins otherwise for a pickle, and would advise to trust it.
            if file.read(2) != b"PK":
                raise ValueError("it is no archive of arrays")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                about = dict(json.loads(str(stored["about"])))
                weights, bias = stored["weights"].astype(np.float32), float(stored["bias"])
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"not a quality classifier: {error}",
            code="data.damaged",
            where=str(path),
            hint="train it again: plait data quality",
        ) from error
    model = QualityModel(weights, bias, about)
    if not np.isfinite(bias) or not np.isfinite(weights).all():
        raise DataError("its weights are not all numbers", code="data.damaged", where=str(path), hint="train it again")
    if about.get("format") != _FORMAT or model.weights.shape != (FEATURES,):
        raise DataError(
            f"a classifier of format {about.get('format')} with {len(model.weights)} features, "
            f"not {_FORMAT} with {FEATURES}",
            code="data.damaged",
            where=str(path),
            hint="train it again with this version",
        )
    return model
