"""Texts of conversations and preference pairs, plain or as lists of messages, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from plait.data import kernels
from plait.data.batch import Batch
from plait.errors import DataError

PROMPT = "prompt"
"""Where TRL has the prompt. A pair without this field has an implicit prompt."""


@dataclass(frozen=True)
class PairTexts:
    """What pairs say, null where a field is null.

    Args:
        prompt: What both answers answer.
        chosen: The preferred answers, without the prompt.
        rejected: The other answers, without the prompt.
    """

    prompt: pl.Series
    chosen: pl.Series
    rejected: pl.Series

    def known(self) -> np.ndarray:
        """Whether all three are there, bool ``[rows]``."""
        return (self.prompt.is_not_null() & self.chosen.is_not_null() & self.rejected.is_not_null()).to_numpy()


def pair_texts(batch: Batch, prompt_key: str, chosen_key: str, rejected_key: str) -> PairTexts:
    """What pairs in any of TRL's formats say.

    Without a field ``prompt``, and where that is text beside answers that are messages, both answers begin with the
    prompt: what they have in common is no part of an answer.

    Raises:
        DataError: A field is missing, or is neither text nor messages.
    """
    implicit = prompt_key == PROMPT and PROMPT not in batch.frame.columns
    kinds = [batch.column(key).dtype == pl.String for key in (chosen_key, rejected_key)]
    asked = None if implicit else plain(batch, prompt_key)
    text_beside_messages = asked is not None and batch.column(prompt_key).dtype == pl.String and not any(kinds)
    if not implicit and not text_beside_messages:
        assert asked is not None
        return PairTexts(asked, plain(batch, chosen_key), plain(batch, rejected_key))
    if kinds[0] != kinds[1]:
        raise DataError(
            f'one of the fields "{chosen_key}" and "{rejected_key}" is text, the other is messages',
            code="data.wrong-type",
            hint="give both as text, or both as messages",
        )
    shared, chosen, rejected = (_split_texts if kinds[0] else _split_messages)(batch, chosen_key, rejected_key)
    return PairTexts(shared if asked is None else asked, chosen, rejected)


def prompts(batch: Batch, prompt_key: str) -> pl.Series:
    """What pairs answer, null where the field is null; see `pair_texts` for those without the field.

    Raises:
        DataError: The field is missing, and so is an answer that would begin with it; or is neither text nor messages.
    """
    columns = batch.frame.columns
    if prompt_key == PROMPT and PROMPT not in columns and {"chosen", "rejected"} <= set(columns):
        return pair_texts(batch, PROMPT, "chosen", "rejected").prompt
    return plain(batch, prompt_key)


def plain(batch: Batch, field: str) -> pl.Series:
    """A field as plain text: of a list of messages, what they say, a line apart. Null where the field is null.

    Raises:
        DataError: The field is missing, or is neither text nor messages.
    """
    column = batch.column(field)
    return column if column.dtype == pl.String else _said(messages(batch, field))


def messages(batch: Batch, field: str, *, else_text: bool = True) -> pl.Series:
    """Lists of messages, each a role and what it says as text; null where the field is null.

    What a message says may be given in parts, as for models that see images; parts of text count.

    Args:
        batch: The rows.
        field: The field.
        else_text: Whether the field might be text as well, for what an error says.

    Raises:
        DataError: The field is missing, or holds something else.
    """
    column = batch.column(field)
    kind = column.dtype
    inner = kind.inner if isinstance(kind, pl.List) else None
    fields = inner.to_schema() if isinstance(inner, pl.Struct) else {}
    if not {"role", "content"} <= set(fields):
        wanted = "neither text nor a list of messages" if else_text else "no list of messages"
        raise DataError(
            f'field "{field}" is {kind}, {wanted}',
            code="data.wrong-type",
            hint='messages look like [{"role": "user", "content": "…"}]',
        )
    content, role = pl.element().struct.field("content"), pl.element().struct.field("role")
    parts = fields["content"]
    if isinstance(parts, pl.List) and isinstance(parts.inner, pl.Struct) and "text" in parts.inner.to_schema():
        content = content.list.eval(pl.element().struct.field("text")).list.join("\n")
    elif parts not in (pl.String, pl.Null):
        raise DataError(
            f'the messages of field "{field}" have content that is {parts}, neither text nor parts of text',
            code="data.wrong-type",
            hint='content looks like "…", or [{"type": "text", "text": "…"}]',
        )
    return column.list.eval(pl.struct(role.cast(pl.String).alias("role"), content.cast(pl.String).alias("content")))


def scores(batch: Batch, field: str) -> np.ndarray:
    """A field of numbers, float64 ``[rows]``; not a number where it is null.

    Raises:
        DataError: The field is missing, or holds something else.
    """
    column = batch.column(field)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean or column.dtype == pl.Null):
        raise DataError(
            f'field "{field}" is {column.dtype}, no number',
            code="data.wrong-type",
            hint="name the field of the score, or turn it into a number",
        )
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()


def jaccard(left: pl.Series, right: pl.Series, *, size: int) -> np.ndarray:
    """Jaccard similarity of the sets of word n-grams of two columns, row by row, float64 ``[rows]``.

    Texts shorter than ``size`` words count as one n-gram. Two without any word are alike.
    """
    from plait.data.ops.pairs.sets import jaccard_of_sets

    return jaccard_of_sets(*_sets(left, size), *_sets(right, size))


def _said(talks: pl.Series) -> pl.Series:
    return talks.list.eval(pl.element().struct.field("content")).list.join("\n")


def _split_texts(batch: Batch, chosen_key: str, rejected_key: str) -> tuple[pl.Series, pl.Series, pl.Series]:
    from plait.data.ops.pairs.beginnings import shared_characters

    chosen, rejected = batch.column(chosen_key), batch.column(rejected_key)
    sides = [kernels.buffers(side.fill_null("")) for side in (chosen, rejected)]
    frame = pl.DataFrame([chosen.alias("chosen"), rejected.alias("rejected")])
    frame = frame.with_columns(pl.Series("shared", shared_characters(*sides[0], *sides[1])))
    prompt = pl.when(pl.col("rejected").is_not_null()).then(pl.col("chosen").str.head(pl.col("shared")))
    answers = (pl.col(side).str.slice(pl.col("shared")) for side in ("chosen", "rejected"))
    split = frame.select(prompt.alias("prompt"), *answers)
    return split["prompt"], split["chosen"], split["rejected"]


def _split_messages(batch: Batch, chosen_key: str, rejected_key: str) -> tuple[pl.Series, pl.Series, pl.Series]:
    from plait.data.ops.pairs.beginnings import shared_messages

    chosen, rejected = messages(batch, chosen_key), messages(batch, rejected_key)
    shared = shared_messages(*_hashed(chosen), *_hashed(rejected))
    frame = pl.DataFrame([chosen.alias("chosen"), rejected.alias("rejected"), pl.Series("shared", shared)])
    prompt = pl.when(pl.col("rejected").is_not_null()).then(pl.col("chosen").list.head(pl.col("shared")))
    answers = (pl.col(side).list.slice(pl.col("shared")) for side in ("chosen", "rejected"))
    split = frame.select(prompt.alias("prompt"), *answers)
    return _said(split["prompt"]), _said(split["chosen"]), _said(split["rejected"])


def _hashed(talks: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """A hash per message, and where each talk starts."""
    starts = np.concatenate([[0], np.cumsum(talks.list.len().fill_null(0).to_numpy())]).astype(np.int64)
    flat = talks.explode(empty_as_null=False, keep_nulls=False)
    return flat.struct.unnest().hash_rows().to_numpy() if len(flat) else np.zeros(0, np.uint64), starts


def _sets(texts: pl.Series, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of each text's word n-grams, and where each text starts; short texts as one n-gram."""
    words = kernels.words(texts)
    hashes, starts = kernels.shingles(words, size)
    short = (words.counts > 0) & (words.counts < size)
    if not short.any():
        return hashes, starts
    whole = texts.str.to_lowercase().hash().to_numpy()
    counts = np.diff(starts) + short
    out_starts = np.concatenate([[0], np.cumsum(counts)])
    out = np.empty(out_starts[-1], np.uint64)
    long = np.repeat(~short, counts)
    out[long] = hashes
    out[~long] = whole[short]
    return out, out_starts
