"""LoRA adapters of one frozen language model: every client of a process trains through the same base.

The adapter's parameters are views of one flat buffer, and their gradients of another. Giving the model
another client's adapter is one copy of that buffer (2 MB for SmolLM2-135M), clipping is one norm, and the
optimiser sees one parameter.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from plait.core.component import Component
from plait.core.optional import require
from plait.core.seeds import Seeds
from plait.errors import DataError, ModelError, StrandError, UsageError
from plait.federate.batches import batch_of
from plait.federate.payload import Vector
from plait.federate.shards import Blocks
from plait.models.adapters import LoRA, adapter_vector, attach_lora

if TYPE_CHECKING:
    import torch

    from plait.models import LanguageModel


_NOTHING = -100
_EVALUATED_TOKENS = 1024  # at once: enough to keep two cores busy, little enough that logits stay below 0.5 GB


class AdapterTraining(Component):
    """How a client trains an adapter. The optimiser starts anew in every round; only the adapter lives on."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (β 0.9 and 0.999, no weight decay), or plain SGD."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size, constant."""
    batch_size: int = Field(default=4, ge=1)
    """Blocks per step."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Longest gradient, in Euclidean norm over the whole adapter."""
    seed: int = 0
    """Orders each client's blocks; the same for all clients of a run."""
    threads: int = Field(default=0, ge=0)
    """Threads of torch while it works here; 0 leaves them as they are. Sums depend on it in the last bit, so
    set it where workers of unlike machines must agree to the digest.
    """


class LoRALearner(Component):
    """Causal language modelling of clients' texts, training a LoRA adapter alone."""

    tokens: Path
    """An ``.npz`` with ``CLIENT/train`` and ``CLIENT/heldout`` per client: token ids, int32 ``[blocks,
    tokens]``."""
    model: str = "smollm2-135m"
    """The base model: a catalog name, a folder, a ``.gguf`` file or a Hub id."""
    device: str = "cpu"
    """A torch device, or ``auto`` for the first GPU."""
    lora: LoRA = LoRA()
    """Rank, scaling, and which layers are adapted."""
    lora_seed: int = 0
    """Draws the adapter's start; the same for all clients of a run."""
    training: AdapterTraining = AdapterTraining()
    """How a client trains."""

    def open(self) -> AdapterLearner:
        """Load the model and the tokens.

        Raises:
            ModelError: The model cannot be loaded.
            DataError: The tokens cannot be read.
        """
        from plait.models import load

        tokens = read_tokens(self.tokens)
        lm = attach_lora(load(self.model, device=self.device), self.lora, seed=self.lora_seed)
        return AdapterLearner(self.training, lm, tokens=tokens)


def write_tokens(path: Path, *, train: Mapping[str, Blocks], heldout: Mapping[str, Blocks]) -> None:
    """Write the token blocks of clients for a `LoRALearner`."""
    arrays = {f"{client}/train": blocks for client, blocks in train.items()}
    arrays |= {f"{client}/heldout": blocks for client, blocks in heldout.items()}
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)


def read_tokens(path: Path) -> dict[str, tuple[Blocks, Blocks]]:
    """Client → its training and held-out blocks.

    Raises:
        DataError: The file is missing or holds something else.
    """
    if not path.is_file():
        raise DataError(f"no file {path}", code="data.missing", hint="write it with write_tokens")
    with np.load(path, allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    clients = sorted(name.removesuffix("/train") for name in held if name.endswith("/train"))
    for name, blocks in held.items():
        if blocks.ndim != 2 or blocks.dtype.kind not in "iu":
            raise DataError(f"{name} is not [blocks, tokens] of integers", code="data.shape", where=str(path))
    none = np.empty((0, 0), dtype=np.int32)
    return {client: (held[f"{client}/train"], held.get(f"{client}/heldout", none)) for client in clients}


class AdapterLearner:
    """The opened learner; see `plait.federate.learner.Learner`.

    Args:
        training: How a client trains.
        lm: A model with an adapter attached, shared by all clients. Its adapter is moved into one buffer, so
            from now on it changes through this learner.
        tokens: Client → its training and held-out blocks.
    """

    def __init__(
        self, training: AdapterTraining, lm: LanguageModel, *, tokens: Mapping[str, tuple[Blocks, Blocks]]
    ) -> None:
        self._torch = require("torch", extra="federate", feature="training adapters")
        self._settings = training
        self._lm = lm
        self._tokens = tokens
        self._layout, self._flat = _flatten(lm)
        if not np.array_equal(self._vector(), adapter_vector(lm)):
            raise StrandError("the adapter holds weights that are not trained", code="federate.adapter")
        self._start = self._vector()

    def start(self) -> Vector:
        """The adapter as it was attached: it changes nothing yet, since one factor of each pair is zero."""
        return self._start.copy()

    def layout(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Both factors of each adapted layer, sorted by name."""
        return self._layout

    def examples(self) -> Mapping[str, int]:
        """Training blocks of each client."""
        return {client: len(train) for client, (train, _) in self._tokens.items()}

    def load(self, vector: Vector) -> None:
        """Give the shared model this adapter."""
        with self._torch.no_grad():
            self._flat.copy_(self._torch.from_numpy(np.array(vector, dtype=np.float32)))

    def train(
        self, vector: Vector, *, client: str, first_step: int, steps: int, proximal: float, seed: int
    ) -> tuple[Vector, list[float]]:
        """Take steps on the client's blocks; see the protocol."""
        torch = self._torch
        blocks = self._blocks(client)[0]
        order = Seeds(self._settings.seed).child("batches", client)
        self.load(vector)
        start = self._flat.detach().clone()
        optimizer = self._optimizer()
        losses: list[float] = []
        with self._threads(), torch.random.fork_rng(devices=[]), self._training():
            torch.manual_seed(seed)
            for step in range(first_step, first_step + steps):
                rows = batch_of(len(blocks), size=self._settings.batch_size, step=step, seeds=order)
                self._gradient().zero_()
                loss = self._loss(blocks[rows])
                loss.backward()
                if proximal:
                    self._gradient().add_(self._flat.detach() - start, alpha=proximal)
                losses.append(float(loss.detach()))
                norm = float(torch.linalg.vector_norm(self._gradient()))
                if not (np.isfinite(losses[-1]) and np.isfinite(norm)):
                    raise ModelError(
                        f"client {client}, step {step}, blocks {rows.tolist()}: "
                        f"loss {losses[-1]}, gradient norm {norm}",
                        code="federate.nan-loss",
                        hint="lower the learning rate, or look at these blocks",
                    )
                if norm > self._settings.clip_norm:
                    self._gradient().mul_(self._settings.clip_norm / norm)
                optimizer.step()
        return self._vector(), losses

    def evaluate(self, vector: Vector, *, client: str) -> float:
        """Mean loss per token on the client's held-out blocks, in nats.

        Raises:
            DataError: It has none.
        """
        blocks = self._blocks(client)[1]
        if len(blocks) == 0:
            raise DataError(f"client {client} has no held-out blocks", code="data.no-heldout")
        self.load(vector)
        size = max(1, _EVALUATED_TOKENS // blocks.shape[1])
        with self._threads(), self._torch.inference_mode():
            batches = [blocks[at : at + size] for at in range(0, len(blocks), size)]
            total = sum(float(self._loss(batch)) * len(batch) for batch in batches)
        return total / len(blocks)

    def _loss(self, blocks: Blocks) -> torch.Tensor:
        """Mean cross-entropy of every token given those before it, over ``[blocks, tokens]``."""
        ids = self._torch.from_numpy(blocks.astype(np.int64)).to(self._flat.device)
        logits = self._lm.model(input_ids=ids, use_cache=False).logits  # [blocks, tokens, vocabulary]
        # The last place has nothing to predict. Masking it spares the copy of all logits that cutting it off
        # would take.
        following = ids.roll(-1, dims=1)
        following[:, -1] = _NOTHING
        return self._torch.nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=_NOTHING)

    def _optimizer(self) -> torch.optim.Optimizer:
        if self._settings.optimizer == "sgd":
            return self._torch.optim.SGD([self._flat], lr=self._settings.learning_rate)
        return self._torch.optim.AdamW([self._flat], lr=self._settings.learning_rate, weight_decay=0.0)

    def _gradient(self) -> torch.Tensor:
        gradient = self._flat.grad
        assert gradient is not None
        return gradient

    def _vector(self) -> Vector:
        return np.array(self._flat.detach().cpu().numpy(), dtype=np.float32)

    def _blocks(self, client: str) -> tuple[Blocks, Blocks]:
        if client not in self._tokens:
            raise UsageError(f'no client "{client}" here', code="federate.unknown-client")
        return self._tokens[client]

    @contextmanager
    def _training(self) -> Generator[None]:
        """Dropout on; off again afterwards."""
        self._lm.model.train()
        try:
            yield
        finally:
            self._lm.model.eval()

    @contextmanager
    def _threads(self) -> Generator[None]:
        before = self._torch.get_num_threads()
        self._torch.set_num_threads(self._settings.threads or before)
        try:
            yield
        finally:
            self._torch.set_num_threads(before)


def _flatten(lm: LanguageModel) -> tuple[list[tuple[str, tuple[int, ...]]], torch.nn.Parameter]:
    """Move all trained parameters, and their gradients, into two flat buffers; the parameters become views.

    Raises:
        StrandError: Nothing is trained, or not in float32.
    """
    import torch

    trained = sorted((name, p) for name, p in lm.model.named_parameters() if p.requires_grad)
    if not trained or any(p.dtype != torch.float32 for _, p in trained):
        raise StrandError(
            f"{len(trained)} trained tensors, not all float32" if trained else "the model has no adapter",
            code="federate.adapter",
            hint="attach a LoRA adapter to a float32 model first",
        )
    flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for _, p in trained]))
    flat.grad = torch.zeros_like(flat)
    offset = 0
    for _, parameter in trained:
        part = slice(offset, offset + parameter.numel())
        shape = parameter.shape
        parameter.data = flat.data[part].view(shape)
        parameter.grad = flat.grad[part].view(shape)
        offset += parameter.numel()
    return [(_short(name), tuple(p.shape)) for name, p in trained], flat


def _short(name: str) -> str:
    """The parameter's name without what peft wraps around it."""
    return name.removeprefix("base_model.model.").replace(".default.", ".")
