"""Filters that look at the grammar of a text, as a spaCy model reads it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from plait.core.optional import require
from plait.data.batch import session
from plait.data.op import Bounds, Columns, Op, RangeFilter
from plait.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.batch import Batch

_ACTION_TAGS = frozenset({"VV", "VB", "VBP", "VBZ", "VBD", "VBG", "VBN"})
_ENTITY_KINDS = frozenset({"NOUN", "PROPN", "PRON"})
_ENTITY_TAGS = frozenset({"NN", "NR", "PN", "NNS", "NNP", "NNPS", "PRP"})
_MARKS = ("<__dj__image>", "<__dj__audio>", "<__dj__video>", "<|__dj__eoc|>")


class TextActionFilter(RangeFilter):
    """Keeps texts with enough verbs.

    Example:
        - text_action_filter: {lang: en, spacy_model: en_core_web_md}

    Source: Data-Juicer 1.6.1, ``text_action_filter``. The spaCy model must be installed; there it is downloaded.
    """

    stat = "num_action"
    cost = "model"
    needs = frozenset({"model"})

    lang: Literal["en", "zh"] = "en"
    """Language of the texts."""
    min_action_num: int = 1
    """Fewest verbs kept."""
    spacy_model: str | None = None
    """Name or folder of the spaCy model; by default the one installed as ``en_core_web_md`` or ``zh_core_web_md``."""

    def ready(self) -> None:
        """Looks for the model."""
        Grammar(name=self.spacy_model or f"{self.lang}_core_web_md").ready()

    def value(self, batch: Batch) -> np.ndarray:
        """Verbs."""
        reader = Grammar(name=self.spacy_model or f"{self.lang}_core_web_md")
        return np.array([count_actions(doc) for doc in reader.read(batch.text(self.text_key).to_list())], np.int64)

    def bounds(self) -> Bounds:
        """Fewest verbs."""
        return self.min_action_num, None


class TextEntityDependencyFilter(RangeFilter):
    """Keeps texts whose nouns and pronouns are tied to other words; texts without any are dropped.

    Example:
        - text_entity_dependency_filter: {lang: en, any_or_all: any, spacy_model: en_core_web_md}

    Source: Data-Juicer 1.6.1, ``text_entity_dependency_filter``. The spaCy model must be installed; there it is
    downloaded. The stat is a JSON list.
    """

    stats = ("num_dependency_edges",)
    cost = "model"
    needs = frozenset({"model"})

    lang: Literal["en", "zh"] = "en"
    """Language of the texts."""
    min_dependency_num: int = 1
    """Fewest ties of a noun that count."""
    any_or_all: Literal["any", "all"] = "all"
    """Whether one noun must have as many, or each."""
    spacy_model: str | None = None
    """Name or folder of the spaCy model; by default the one installed as ``en_core_web_md`` or ``zh_core_web_md``."""

    def ready(self) -> None:
        """Looks for the model."""
        Grammar(name=self.spacy_model or f"{self.lang}_core_web_md").ready()

    def measure(self, batch: Batch) -> Columns:
        """Ties of each noun, as a JSON list per text."""
        reader = Grammar(name=self.spacy_model or f"{self.lang}_core_web_md")
        docs = reader.read(batch.text(self.text_key).to_list())
        return {self.stats[0]: pl.Series([json.dumps(count_edges(doc)) for doc in docs], dtype=pl.String)}

    def value(self, batch: Batch) -> np.ndarray:
        """Ties of the noun that decides: with ``any`` the best tied one; NaN without nouns."""
        return self._deciding(self.measure(batch))

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether one noun, or each, has enough ties."""
        del batch
        edges = [np.array(json.loads(row), np.int64) for row in stats[self.stats[0]]]
        enough = np.any if self.any_or_all == "any" else np.all
        return np.array([len(row) > 0 and bool(enough(self.inside(row))) for row in edges], np.bool_)

    def bounds(self) -> Bounds:
        """Fewest ties."""
        return self.min_dependency_num, None

    def _deciding(self, stats: Columns) -> np.ndarray:
        edges = [json.loads(row) for row in stats[self.stats[0]]]
        best = max if self.any_or_all == "any" else min
        return np.array([best(row) if row else np.nan for row in edges], np.float64)


class Grammar(Op):
    """A spaCy model; what uses the same one shares it."""

    name: str
    """Name of an installed package, or a folder."""

    def ready(self) -> None:
        """Looks for the package, or the folder."""
        spacy = require("spacy", extra="data", feature="filters by grammar")
        if not (spacy.util.is_package(self.name) or Path(self.name).is_dir()):
            raise self._missing()

    def read(self, texts: Sequence[str]) -> list[Any]:
        """The texts' tokens with their kinds, tags and heads; Data-Juicer's marks of media left out."""
        model, lock = session(self, self._open)
        with lock:
            return list(model.pipe([_unmarked(text) for text in texts]))

    def _open(self) -> tuple[Any, threading.Lock]:
        spacy = require("spacy", extra="data", feature="filters by grammar")
        try:
            return spacy.load(self.name), threading.Lock()
        except OSError as error:
            raise self._missing() from error

    def _missing(self) -> ModelError:
        return ModelError(
            f'the spaCy model "{self.name}" is not on this machine, and operations download nothing',
            code="data.model-not-here",
            hint=f"python -m spacy download {self.name}, or set spacy_model to a folder",
        )


def count_actions(doc: Iterable[Any]) -> int:
    """Verbs among tokens that have ``pos_`` and ``tag_``."""
    return sum(token.pos_ == "VERB" and token.tag_ in _ACTION_TAGS for token in doc)


def count_edges(doc: Iterable[Any]) -> list[int]:
    """For each noun or pronoun, its tie to its head and those of what depends on it, punctuation left out.

    Args:
        doc: Tokens that have ``pos_``, ``tag_``, ``dep_`` and ``head``.
    """
    tokens = list(doc)
    edges = {
        token: int(token.dep_ != "ROOT")
        for token in tokens
        if token.pos_ in _ENTITY_KINDS and token.tag_ in _ENTITY_TAGS
    }
    for token in tokens:
        if token.pos_ != "PUNCT" and token.dep_ != "ROOT" and token.head in edges:
            edges[token.head] += 1
    return list(edges.values())


def _unmarked(text: str) -> str:
    for mark in _MARKS:
        text = text.replace(mark, "").strip()
    return text
