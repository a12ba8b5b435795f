"""Documents that contain passages of evaluation sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveInt

from plait.data.batch import session
from plait.data.op import Filter

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.dedup.contamination import Passages
    from plait.data.op import Columns, Cost, Need


class DecontaminationFilter(Filter):
    """Drops documents that contain passages of evaluation sets.

    Words are runs of letters and digits, in lower case. The contamination of a document by an evaluation text is the
    share of the text's distinct n-grams of words that stand in the document: 1 if it holds all of them. The number of
    a document is the largest over all evaluation texts. An evaluation text of fewer words than an n-gram counts as one
    n-gram; one of fewer than ``min_words`` is not looked for, because such short texts are found everywhere.

    Example:
        - decontamination_filter: {path: [evaluation/gsm8k.jsonl], eval_keys: [question]}

    Source: Brown et al. 2020, "Language models are few-shot learners", appendix C (13-grams, 8 words at least).
    """

    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stats: ClassVar[tuple[str, ...]] = ("contamination", "contaminated_by")

    path: tuple[Path, ...]
    """Files of evaluation texts, JSON lines."""
    eval_keys: tuple[str, ...] = ("text",)
    """Fields of the evaluation texts; each is looked for by itself."""
    ngram: PositiveInt = 13
    """Words per n-gram."""
    min_words: PositiveInt = 8
    """Shorter evaluation texts are not looked for."""
    tokenization: Literal["word", "space", "character"] = "word"
    """What a word is: a run of letters and digits (``word``), what stands between blanks (``space``), or a
    ``character``, for languages without blanks."""
    max_contamination: float = Field(default=0.0, ge=0, le=1)
    """Largest share of an evaluation text that a document may contain; 0 allows no n-gram."""
    action: Literal["drop", "flag"] = "drop"
    """Drop contaminated documents, or keep them with the stats that tell by what."""

    def ready(self) -> None:
        """Reads the evaluation sets."""
        self.passages()

    def passages(self) -> Passages:
        """The n-grams of the evaluation sets, read once per process, and again when a file has changed."""
        from plait.data.dedup.contamination import Passages, changed

        held = session(self, dict[tuple[tuple[int, int], ...], Passages])
        now = changed(self.path)
        found = held.get(now)
        if found is None:
            found = Passages.read(self.path, self.eval_keys, self.ngram, self.min_words, self.tokenization)
            held.clear()
            held[now] = found
        return found

    def measure(self, batch: Batch) -> Columns:
        """The largest contamination, and the evaluation text (``file:line``) it is by."""
        passages = self.passages()
        share, which = passages.overlap(batch.text(self.text_key))
        named = [passages.names[number] if number >= 0 else None for number in which.tolist()]
        return {"contamination": share, "contaminated_by": pl.Series(named, dtype=pl.String)}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the document contains no more than allowed."""
        del batch
        share = np.asarray(stats["contamination"])
        return np.ones(len(share), np.bool_) if self.action == "flag" else share <= self.max_contamination
