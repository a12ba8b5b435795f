"""Filters that count tokens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.core.optional import check_installed, require
from plait.data.batch import session
from plait.data.op import Bounds, Op, RangeFilter
from plait.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from plait.data.batch import Batch

_TEXTS_AT_ONCE = 256


class TokenNumFilter(RangeFilter):
    """Keeps texts of a number of tokens.

    Example:
        - token_num_filter: {hf_tokenizer: smollm2-135m, min_num: 20, max_num: 4096}

    Source: Data-Juicer 1.6.1, ``token_num_filter``. The tokenizer must be on this machine; Data-Juicer downloads it.
    """

    stat = "num_token"
    cost = "small-model"
    needs = frozenset({"tokens"})

    hf_tokenizer: str = "EleutherAI/pythia-6.9b-deduped"
    """A known model (``smollm2-135m``), a folder with ``tokenizer.json``, or a Hub id that is on this machine."""
    min_num: int = 10
    """Fewest tokens kept."""
    max_num: int = sys.maxsize
    """Most tokens kept."""

    def ready(self) -> None:
        """Looks for the tokenizer."""
        check_tokenizer(self.hf_tokenizer)

    def value(self, batch: Batch) -> np.ndarray:
        """Tokens, special ones not added."""
        return count_tokens(self.hf_tokenizer, batch, self.text_key)

    def bounds(self) -> Bounds:
        """Fewest and most."""
        return self.min_num, self.max_num


def count_tokens(tokenizer: str, batch: Batch, text_key: str) -> np.ndarray:
    """Tokens of each text, int64 ``[texts]``.

    Raises:
        ModelError: The tokenizer is not on this machine.
    """
    return Tokenizer(name=tokenizer).count(batch, text_key)


class Tokenizer(Op):
    """A Hugging Face tokenizer; what uses the same one shares it."""

    name: str
    """A known model, a folder, or a Hub id."""

    def count(self, batch: Batch, text_key: str) -> np.ndarray:
        """Tokens of each text, special ones not added, int64 ``[texts]``."""
        lengths = session(self, self._open)
        texts = batch.text(text_key).to_list()
        counts = list[int]()
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            counts += lengths(texts[start : start + _TEXTS_AT_ONCE])
        return np.array(counts, np.int64)

    def _open(self) -> Callable[[list[str]], list[int]]:
        folder = local_model(self.name, setting="hf_tokenizer")
        file = folder / "tokenizer.json"
        if file.is_file():
            tokenizer: Any = require("tokenizers", extra="models", feature="counting tokens").Tokenizer.from_file(
                str(file)
            )
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return lambda texts: [len(e) for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        transformers = require("transformers", extra="models", feature="a tokenizer without tokenizer.json")
        slow: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return lambda texts: [len(slow.tokenize(text)) for text in texts]


def check_tokenizer(name: str) -> None:
    """Whether a tokenizer is on this machine, and what runs it.

    Raises:
        ModelError: It is not here.
        MissingExtra: tokenizers is not installed.
    """
    check_installed("tokenizers", extra="models", feature="counting tokens")
    local_model(name, setting="hf_tokenizer")


def check_language_model(name: str, *, setting: str) -> None:
    """Whether a causal language model is on this machine, and what runs it.

    Raises:
        ModelError: It is not here.
        MissingExtra: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        check_installed(package, extra="models", feature="a language model of this machine")
    local_model(name, setting=setting)


def local_model(name: str, *, setting: str) -> Any:
    """The folder of a model that is on this machine; nothing is downloaded.

    Args:
        name: A known model, a folder, or a Hub id.
        setting: Where the name comes from, for the error.

    Raises:
        ModelError: It is not here.
    """
    from plait.models import resolve
    from plait.models.language_model import local_folder

    try:
        source = resolve(name)
    except ModelError as error:
        raise ModelError(f"{setting}: {error.message}", code=error.code, hint=error.hint) from error
    if source.path is None:
        raise ModelError(
            f'{setting}: "{name}" is not on this machine, and operations download nothing',
            code="data.model-not-here",
            hint=f"`plait models get {name}`, or give a folder, or {setting}: smollm2-135m, which comes as a package",
        )
    return local_folder(source)
