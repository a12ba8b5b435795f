"""How strongly something that never saw a pair prefers its chosen text: three scorers, from seconds to hours.

`text_margins` fits a cross-fitted Bradley-Terry model on words and lengths (100,000 pairs on a CPU in about a minute);
`model_margins` asks a language model as it is; `trained_margins` trains a LoRA adapter on the other folds and takes
its implicit reward. All are log-odds, positive where the scorer agrees with the label.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.core.component import Component
from plait.core.optional import require
from plait.core.seeds import Seeds
from plait.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from plait.models import LoRA

    Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]

Progress = Callable[[str, int, int], None]
"""Told (what, done, total)."""

_CHUNK = 10_000  # pairs turned into features between two reports of progress
_MARKS = ("\n", "?", "!", ",", ":", "*", "`", '"', "I ", "sorry", "can't", "not")


@dataclass(frozen=True)
class PairTexts:
    """A pair as plain text."""

    id: str
    prompt: str
    chosen: str
    rejected: str


class TextScorer(Component):
    """Settings of the cross-fitted Bradley-Terry model on words and lengths."""

    folds: int = 5
    """Parts the pairs are split into, by prompt; each is scored by a model of the others."""
    hashed_words: int = 2**17
    """Columns that words and pairs of words are hashed into."""
    strength: float = 0.1
    """Inverse of the L2 penalty."""


def text_margins(
    pairs: Sequence[PairTexts],
    *,
    scorer: TextScorer | None = None,
    seeds: Seeds,
    on_progress: Progress = lambda _what, _done, _total: None,
) -> Numbers:
    """Out-of-fold log-odds of a logistic regression on differences of features, ``[pairs]``.

    Pairs with equal prompts share a fold, so that a repeated pair does not vouch for itself.

    Raises:
        DataError: There are fewer different prompts than folds.
    """
    require("sklearn", extra="align", feature="the text scorer")
    import numpy as np
    from scipy.sparse import csr_matrix, hstack, vstack
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    scorer = scorer or TextScorer()
    fold = folds_by_prompt(pairs, scorer.folds, seeds=seeds)
    hasher: Any = HashingVectorizer(n_features=scorer.hashed_words, ngram_range=(1, 2), binary=True, norm="l2")
    blocks: list[Any] = []
    for start in range(0, len(pairs), _CHUNK):
        part = pairs[start : start + _CHUNK]
        blocks.append(hasher.transform([p.chosen for p in part]) - hasher.transform([p.rejected for p in part]))
        on_progress("reading words", min(start + _CHUNK, len(pairs)), len(pairs))
    facts = np.array([_facts(pair.chosen) for pair in pairs]) - np.array([_facts(pair.rejected) for pair in pairs])
    spread = facts.std(axis=0)
    facts = facts / np.where(spread > 0, spread, 1.0) / len(_MARKS) ** 0.5
    features = csr_matrix(hstack([vstack(blocks), csr_matrix(facts)]))
    # Without both classes there is nothing to regress: every other pair is read the other way round.
    side = np.where(seeds.child("side").numpy().random(len(pairs)) < 0.5, -1.0, 1.0)
    margins = np.zeros(len(pairs))
    for number in range(scorer.folds):
        train, test = fold != number, fold == number
        model = LogisticRegression(C=scorer.strength, fit_intercept=False, max_iter=200)
        model.fit(features[train].multiply(side[train][:, None]).tocsr(), side[train] > 0)
        margins[test] = model.decision_function(features[test])
        on_progress("fitting folds", number + 1, scorer.folds)
    return calibrated(margins)


def calibrated(margins: Numbers) -> Numbers:
    """Margins times the one factor that makes them honest log-odds of the labels as they are, ``[pairs]``.

    The factor maximises the likelihood of ``σ(factor · margin)``; it is 0 where margins say nothing, or the opposite.

    Source: Platt 1999, without offset: a pair read the other way round has the opposite log-odds.

    Example:
        >>> import numpy as np
        >>> np.round(calibrated(np.array([1.0, 1.0, 1.0, -1.0])), 3).tolist()  # 3 of 4 right: log 3
        [1.099, 1.099, 1.099, -1.099]
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    size = float(np.abs(margins).max())
    if size == 0:
        return margins
    scaled = margins / size
    best: Any = minimize_scalar(lambda f: float(np.logaddexp(0, -f * scaled).mean()), bounds=(0, 200), method="bounded")
    return best.x * scaled


def model_margins(
    records: Sequence[Mapping[str, Any]],
    *,
    model: str,
    adapter: Path | None = None,
    per_token: bool = True,
    device: str = "cpu",
    on_progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, float]:
    """Calibrated margins of a language model as it is, or with an adapter the implicit reward, by id.

    Args:
        records: Preference pairs with ``id``.
        model: A name that `plait.models.load` knows.
        adapter: A LoRA adapter that was trained on *other* pairs; on its own it would vouch for its labels.
        per_token: Compare mean instead of summed log-probabilities, so that length does not decide; ignored with
            an adapter.
        device: Where to run.
        on_progress: Called after each pair.

    Returns:
        Id → margin, of the pairs that can be tokenised.
    """
    from plait.align.evaluate import PairScores, score_pairs
    from plait.align.pairs import tokenise_pairs
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.models import load, load_adapter

    lm = load(model, device=device)
    if adapter is not None:
        lm = load_adapter(lm, adapter)
    pairs = tokenise_pairs(records, tokenizer=lm.tokenizer).pairs
    if not pairs:
        raise DataError("no pair can be scored", code="align.no-pairs", hint="see `plait align score`")
    found = score_pairs(lm.model, pairs, on_progress=lambda done, total: on_progress("scoring", done, total))
    if adapter is not None:
        before = reference_logprobs(
            lm.model, pairs, cache=ReferenceCache(), on_progress=lambda d, t: on_progress("scoring the reference", d, t)
        )
        raw = found.implicit(PairScores.of(pairs, before))
    else:
        raw = found.per_token() if per_token else found.summed()
    return dict(zip([pair.id for pair in pairs], calibrated(raw).tolist(), strict=True))


def trained_margins(
    records: Sequence[Mapping[str, Any]],
    *,
    model: str,
    lora: LoRA | None = None,
    folds: int = 2,
    epochs: float = 1,
    learning_rate: float = 1e-4,
    batch_size: int = 8,
    seeds: Seeds,
    on_progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, float]:
    """Calibrated implicit rewards by LoRA adapters that were trained on the other folds, by id.

    Args:
        records: Preference pairs with ``id``.
        model: A name that `plait.models.load` knows.
        lora: The adapter; the default one if left out.
        folds: Parts the pairs are split into; the model is trained as many times.
        epochs: Passes over the other folds.
        learning_rate: Of AdamW.
        batch_size: Pairs per step.
        seeds: Splits, and starts the adapters.
        on_progress: Called after each step.

    Returns:
        Id → margin, of the pairs that can be tokenised.
    """
    from plait.align.evaluate import PairScores, score_pairs
    from plait.align.pairs import tokenise_pairs
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.align.trainer import training_arguments
    from plait.align.training import train_pairs
    from plait.models import LoRA

    texts = [PairTexts(str(r["id"]), str(r.get("prompt", r["chosen"])), "", "") for r in records]
    fold = folds_by_prompt(texts, folds, seeds=seeds)
    found: dict[str, float] = {}
    cache = ReferenceCache()
    for number in range(folds):
        others = [record for record, where in zip(records, fold, strict=True) if where != number]
        held = [record for record, where in zip(records, fold, strict=True) if where == number]
        what = f"training fold {number + 1} of {folds}"
        with tempfile.TemporaryDirectory() as scratch:
            args = training_arguments(
                Path(scratch),
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                seed=seeds.child("fold", number).integer(31),
            )
            trained = train_pairs(
                model,
                others,
                args,
                lora=lora or LoRA(),
                cache=cache,
                on_step=lambda step, steps, _scalars, what=what: on_progress(what, step, steps),
            )
        pairs = tokenise_pairs(held, tokenizer=trained.tokenizer).pairs
        after = score_pairs(trained.model, pairs, on_progress=lambda d, t: on_progress("scoring the fold", d, t))
        before = PairScores.of(pairs, reference_logprobs(trained.model, pairs, cache=cache))
        found |= dict(zip([pair.id for pair in pairs], after.implicit(before).tolist(), strict=True))
    import numpy as np

    return dict(zip(found, calibrated(np.array(list(found.values()))).tolist(), strict=True))


def folds_by_prompt(pairs: Sequence[PairTexts], folds: int, *, seeds: Seeds) -> np.ndarray:
    """The fold of each pair, ``[pairs]``: equal prompts together, prompts dealt out evenly."""
    import numpy as np

    prompts = {prompt: n for n, prompt in enumerate(dict.fromkeys(pair.prompt for pair in pairs))}
    if len(prompts) < folds:
        raise DataError(
            f"{len(prompts)} different prompts cannot be split into {folds} folds",
            code="align.noise-prompts",
            hint="pairs of one prompt must stay together; give more prompts, or fewer folds",
        )
    dealt = seeds.child("folds").numpy().permutation(len(prompts)) % folds
    return np.array([dealt[prompts[pair.prompt]] for pair in pairs])


def _facts(text: str) -> list[float]:
    """Length and habits of a text: what annotators are known to be swayed by."""
    from math import log

    words = text.split()
    longest = max((len(word) for word in words), default=0)
    return [log(1 + len(text)), log(1 + len(words)), longest / 20, *(log(1 + text.count(mark)) for mark in _MARKS)]
