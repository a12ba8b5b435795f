"""Barriers over preference pairs: prompts asked twice, preferences that contradict each other."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import polars as pl

from plait.data.batch import Batch
from plait.data.op import Columns, Cost, Decision, Deduplicator, Rows, Selector
from plait.data.ops.pairs.texts import pair_texts, prompts, scores


class PromptDeduplicator(Deduplicator):
    """Keeps one row of each prompt: the best by a score, or the first.

    Prompts are compared in lower case and with runs of blanks as one. A row with a null prompt is no duplicate.

    Example:
        - prompt_deduplicator: {keep: best, score_key: score_chosen}

    Source: ours.
    """

    stat = "prompt"
    cost: ClassVar[Cost] = "scan"

    prompt_key: str = "prompt"
    """Field of the prompt: text or messages. Without a field ``prompt`` it is what both answers begin with."""
    keep: Literal["first", "best"] = "first"
    """Which row of a prompt stays; of equally good ones the first."""
    score_key: str = "score_chosen"
    """Field of the score, for ``best``; a row without one is the worst."""

    def keys(self, batch: Batch) -> Columns:
        """Hash of the prompt, and the score."""
        asked = prompts(batch, self.prompt_key)
        columns = {"prompt": _hashes(asked), "known": asked.is_not_null().to_numpy()}
        if self.keep == "best":
            score = scores(batch, self.score_key)
            columns["score"] = np.where(np.isnan(score), -np.inf, score)
        return columns

    def decide(self, rows: Rows) -> Decision:
        """All rows of a prompt but one."""
        frame = pl.DataFrame({"prompt": rows.key("prompt"), "at": np.arange(rows.count)})
        score = pl.Series(rows.key("score")) if self.keep == "best" else pl.Series(np.zeros(rows.count))
        asked = frame.with_columns(score.alias("score")).filter(pl.Series(rows.key("known"), dtype=pl.Boolean))
        best = asked.sort(["prompt", "score", "at"], descending=[False, True, False])
        survivor = best.select(pl.col("at"), pl.col("at").first().over("prompt").alias("stays")).sort("at")
        dropped = survivor.filter(pl.col("at") != pl.col("stays"))
        facts = {"prompts": asked.height - dropped.height}
        return Decision(dropped["at"].to_numpy(), dropped["stays"].to_numpy(), np.ones(dropped.height), facts)


class PairContradictionSelector(Selector):
    """Drops preferences that contradict another: of one prompt, A over B here and B over A there.

    ``none`` drops all of a contradictory set; ``majority`` keeps those of the answer preferred more often, and none of
    a draw; ``first`` keeps those that agree with the first. A pair with a null field contradicts nothing.

    Example:
        - pair_contradiction_selector: {keep: majority}

    Source: ours.
    """

    stat = "votes_against"
    cost: ClassVar[Cost] = "scan"

    prompt_key: str = "prompt"
    """Field of the prompt: text or messages. Without a field ``prompt`` it is what both answers begin with."""
    chosen_key: str = "chosen"
    """Field of the preferred answer."""
    rejected_key: str = "rejected"
    """Field of the other answer."""
    keep: Literal["none", "majority", "first"] = "none"
    """What stays of a set that contradicts itself."""

    def keys(self, batch: Batch) -> Columns:
        """One hash for the prompt with both answers in any order, and which way round they are."""
        texts = pair_texts(batch, self.prompt_key, self.chosen_key, self.rejected_key)
        chosen, rejected = _hashes(texts.chosen), _hashes(texts.rejected)
        low, high = np.minimum(chosen, rejected), np.maximum(chosen, rejected)
        pair, way = _mixed(_hashes(texts.prompt), low, high), (chosen < rejected).astype(np.uint8)
        return {"pair": pair, "way": way, "known": texts.known()}

    def decide(self, rows: Rows) -> Decision:
        """Rows with another that says the opposite, unless theirs is the side that stays."""
        frame = pl.DataFrame({"pair": rows.key("pair"), "way": rows.key("way"), "at": np.arange(rows.count)})
        known = frame.filter(pl.Series(rows.key("known"), dtype=pl.Boolean))
        votes = known.with_columns(
            pl.col("way").sum().over("pair").cast(pl.Int64).alias("ones"),
            pl.len().over("pair").cast(pl.Int64).alias("all"),
            pl.col("way").first().over("pair").alias("first"),
        )
        against = pl.when(pl.col("way") == 1).then(pl.col("all") - pl.col("ones")).otherwise(pl.col("ones"))
        told = votes.with_columns(against.alias("against")).filter(pl.col("against") > 0)
        stays = {
            "none": pl.lit(value=False),
            "majority": pl.col("against") * 2 < pl.col("all"),
            "first": pl.col("way") == pl.col("first"),
        }[self.keep]
        dropped = told.filter(~stays).sort("at")
        nobody = np.full(dropped.height, -1, np.int64)
        facts = {"contradictory sets": told["pair"].n_unique()}
        return Decision(dropped["at"].to_numpy(), nobody, dropped["against"].cast(pl.Float64).to_numpy(), facts)


def _hashes(texts: pl.Series) -> np.ndarray:
    return texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars().hash().to_numpy()


def _mixed(*columns: np.ndarray) -> np.ndarray:
    return pl.DataFrame({str(i): column for i, column in enumerate(columns)}).hash_rows().to_numpy()
