"""Filters that compare texts by meaning."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from plait.data.batch import session
from plait.data.op import Bounds, Columns, RangeFilter
from plait.data.ops.filters.sentences import (
    MINILM,
    Pooling,
    SentenceEncoder,
    dot_rows,
    endpoint_for,
)
from plait.data.ops.llm.ask import fill
from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.data.batch import Batch


class TextPairSimilarityFilter(RangeFilter):
    """Keeps pairs of texts by how close they are in meaning; pairs with an empty text stay.

    Example:
        - text_pair_similarity_filter: {text_key: question, text_key_second: answer, min_score: 0.3}

    Source: Data-Juicer 1.6.1, ``text_pair_similarity_filter``. By default a sentence encoder that comes as a package
    compares the texts, because CLIP, the default there, would have to be downloaded and reads 77 tokens only: its
    numbers are higher. The stat is the number itself, not a list of one.
    """

    stat = "text_pair_similarity"
    cost = "model"
    needs = frozenset({"model", "fields"})

    hf_clip: str = MINILM
    """The encoder: the packaged one, or the folder or Hub id of a CLIP model or another encoder on this machine."""
    trust_remote_code: Literal[False] = False
    """Code that comes with a model is never run."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Smallest cosine kept."""
    max_score: float = Field(default=1.0, ge=0, le=1)
    """Largest cosine kept."""
    text_key_second: str | None = None
    """Field of the other text; must be given."""
    any_or_all: Literal["any", "all"] = "any"
    """Has no effect: a row has one pair. Accepted as in Data-Juicer."""

    def ready(self) -> None:
        """Looks for the encoder, and whether a second text is named."""
        self._second()
        SentenceEncoder(name=self.hf_clip).ready()

    def value(self, batch: Batch) -> np.ndarray:
        """Cosine of the two texts' vectors; NaN where a text is empty."""
        first, second = batch.text(self.text_key).to_list(), batch.text(self._second()).to_list()
        rows = [i for i, pair in enumerate(zip(first, second, strict=True)) if all(pair)]
        out = np.full(len(batch), np.nan)
        if rows:
            vectors = SentenceEncoder(name=self.hf_clip).encode([first[i] for i in rows] + [second[i] for i in rows])
            # Cosines of equal texts may exceed 1 by a rounding error, which would drop them.
            out[rows] = np.clip(dot_rows(vectors[: len(rows)], vectors[len(rows) :]), -1.0, 1.0)
        return out

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the number lies in the range, or there is none."""
        return super().keeps(batch, stats) | np.isnan(stats[self.stat])

    def bounds(self) -> Bounds:
        """Smallest and largest cosine."""
        return self.min_score, self.max_score

    def _second(self) -> str:
        if self.text_key_second is None:
            raise UsageError(
                "text_key_second is not set, so there is nothing to compare with",
                code="data.bad-settings",
                hint="name the field of the other text",
            )
        return self.text_key_second


class TextEmbdSimilarityFilter(RangeFilter):
    """Keeps texts close in meaning to given ones.

    Example:
        - text_embd_similarity_filter:
            is_hf_model: true
            api_or_hf_model: all-minilm-l6-v2
            min_score: 0.2
            valid_dataset: [{text: "How do plants make sugar from light?"}]

    Source: Data-Juicer 1.6.1, ``text_embd_similarity_filter``. ``valid_dataset`` must be given; there another program
    may hand it over later. A failed call stops the run; there the row stays.
    """

    stat = "text_embd_similarity"
    cost = "model"
    needs = frozenset({"model", "fields"})

    api_or_hf_model: str = "text-embedding-v4"
    """Name of the model on the server; or, with ``is_hf_model``, a folder, a Hub id or ``all-minilm-l6-v2``."""
    is_hf_model: bool = False
    """Whether the model runs on this machine."""
    api_endpoint: str = "embeddings"
    """Address of the server, unless ``model_params`` has a ``base_url``."""
    response_path: Literal["data.0.embedding"] = "data.0.embedding"
    """Where the vector stands in the response: always there."""
    api_key_env: str | None = None
    """Environment variable that holds the server's key; no key is sent without it."""
    model_params: Mapping[str, str] | None = None
    """``base_url`` of the server, or ``device`` of the model."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Smallest mean cosine kept."""
    max_score: float = Field(default=1.0, ge=0, le=1)
    """Largest mean cosine kept."""
    valid_dataset: tuple[Mapping[str, Any], ...] | None = None
    """The given texts, with the same fields as the rows."""
    ebd_dim: int = 4096
    """Width of the vectors asked for at a server."""
    pooling: Pooling | None = None
    """How the states of the tokens become one vector, where the model does not say."""
    input_template: str | None = None
    """What is compared; places in braces are fields of the row. By default the text."""

    def ready(self) -> None:
        """Looks for the encoder and the given texts; asks no server."""
        self._encoder().ready()
        self._given()

    def value(self, batch: Batch) -> np.ndarray:
        """Mean cosine to the given texts."""
        center = session(self, self._center)
        vectors = self._encoder().encode([self._text(row) for row in batch.frame.to_dicts()])
        return vectors @ center if len(batch) else np.zeros(0)

    def bounds(self) -> Bounds:
        """Smallest and largest mean cosine."""
        return self.min_score, self.max_score

    def _given(self) -> list[str]:
        if not self.valid_dataset:
            raise UsageError("valid_dataset is empty", code="data.bad-settings", hint="give texts to compare with")
        return [self._text(row) for row in self.valid_dataset]

    def _center(self) -> np.ndarray:
        # The mean of cosines is the cosine's numerator with the mean of the vectors.
        return self._encoder().encode(self._given()).mean(0)

    def _encoder(self) -> Any:
        params = self.model_params or {}
        if self.is_hf_model:
            return SentenceEncoder(name=self.api_or_hf_model, pooling=self.pooling, device=params.get("device", "cpu"))
        return endpoint_for(self.api_or_hf_model, self.api_endpoint, params, self.api_key_env, self.ebd_dim)

    def _text(self, row: Mapping[str, Any]) -> str:
        template = self.input_template or f"{{{self.text_key}}}"
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        if all(name in row for name in names) or row.get("messages") is None:
            return fill(template, row)
        said = [message["content"] for message in row["messages"]]
        return fill(template, dict(zip(names, said, strict=False)))
