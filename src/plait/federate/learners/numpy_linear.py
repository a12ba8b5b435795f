"""Softmax or linear regression in plain NumPy: federated learning without torch, and our tests' oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from plait.core.component import Component
from plait.core.seeds import Seeds
from plait.errors import DataError, ModelError, UsageError
from plait.federate.batches import batch_of
from plait.federate.payload import Vector

Table = npt.NDArray[np.float64]


class NumpyLinear(Component):
    """A linear model of tables that clients hold, trained by (mini-batch) gradient descent.

    The data is an ``.npz`` with arrays ``CLIENT/x`` ``[rows, features]`` and ``CLIENT/y`` ``[rows]`` per
    client, and if there is held-out data ``CLIENT/heldout_x`` and ``CLIENT/heldout_y``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "clients.npz"
        >>> np.savez(path, **{"a/x": np.array([[1.0], [2.0]]), "a/y": np.array([2.0, 4.0])})
        >>> learner = NumpyLinear(data=path, task="regression", learning_rate=0.4).open()
        >>> work = dict(client="a", first_step=0, steps=400, proximal=0, seed=0)
        >>> vector, losses = learner.train(np.zeros(2), **work)
        >>> vector.round(2), round(losses[0], 2)
        (array([2., 0.], dtype=float32), 5.0)
    """

    data: Path
    """The ``.npz`` of all clients that live here."""
    task: Literal["softmax", "regression"] = "softmax"
    """``softmax``: cross-entropy over integer labels; ``regression``: half the squared error."""
    classes: int = Field(default=2, ge=2)
    """Number of labels, for softmax."""
    learning_rate: float = Field(default=0.1, gt=0)
    """Step size."""
    batch_size: int = Field(default=0, ge=0)
    """Rows per step; 0 is the whole table of the client."""
    seed: int = 0
    """Orders each client's rows; the same for all transports."""

    def open(self) -> LinearLearner:
        """Read the tables.

        Raises:
            DataError: The file is missing, or a client's table does not fit the others'.
        """
        if not self.data.is_file():
            raise DataError(f"no file {self.data}", code="data.missing", hint="give the .npz of the clients")
        with np.load(self.data, allow_pickle=False) as arrays:
            held = {name: np.asarray(arrays[name]) for name in arrays.files}
        tables = {
            key.removesuffix("/x"): _table(held, key.removesuffix("/x")) for key in sorted(held) if key.endswith("/x")
        }
        widths = {table.x.shape[1] for table in tables.values()}
        if len(widths) != 1:
            raise DataError(
                f"the clients' tables have {sorted(widths)} features", code="data.shape", where=str(self.data)
            )
        return LinearLearner(self, tables)


@dataclass(frozen=True)
class _Table:
    x: Table
    y: npt.NDArray[Any]
    heldout_x: Table
    heldout_y: npt.NDArray[Any]


class LinearLearner:
    """The opened model; see `plait.federate.learner.Learner`.

    Args:
        settings: What it was opened from.
        tables: Client → its data.
    """

    def __init__(self, settings: NumpyLinear, tables: Mapping[str, _Table]) -> None:
        self._settings = settings
        self._tables = tables
        self._features = next(iter(tables.values())).x.shape[1]
        self._outputs = settings.classes if settings.task == "softmax" else 1

    def start(self) -> Vector:
        """Zeros, ``[(features + 1) · outputs]``."""
        return np.zeros((self._features + 1) * self._outputs, dtype=np.float32)

    def layout(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Weight and bias."""
        return [("weight", (self._features, self._outputs)), ("bias", (self._outputs,))]

    def examples(self) -> Mapping[str, int]:
        """Rows of each client."""
        return {client: len(table.x) for client, table in self._tables.items()}

    def train(
        self,
        vector: Vector,
        *,
        client: str,
        first_step: int,
        steps: int,
        proximal: float,
        seed: int,  # noqa: ARG002  (nothing random)
    ) -> tuple[Vector, list[float]]:
        """Gradient steps on the client's rows; see the protocol."""
        table = self._of(client)
        start = vector.astype(np.float64)
        parameters = start.copy()
        losses: list[float] = []
        for step in range(first_step, first_step + steps):
            rows = self._batch(client, len(table.x), step)
            loss, gradient = self._loss(parameters, table.x[rows], table.y[rows])
            if not np.isfinite(loss):
                raise ModelError(
                    f"the loss of client {client} is {loss} at its step {step}, rows {rows[:8].tolist()}",
                    code="federate.nan-loss",
                    hint="lower the learning rate, or look at these rows",
                )
            losses.append(loss)
            parameters -= self._settings.learning_rate * (gradient + proximal * (parameters - start))
        return parameters.astype(np.float32), losses

    def evaluate(self, vector: Vector, *, client: str) -> float:
        """Mean loss on the client's held-out rows.

        Raises:
            DataError: It has none.
        """
        table = self._of(client)
        if len(table.heldout_x) == 0:
            raise DataError(f"client {client} has no held-out rows", code="data.no-heldout")
        return self._loss(vector.astype(np.float64), table.heldout_x, table.heldout_y)[0]

    def _loss(self, parameters: Table, x: Table, y: npt.NDArray[Any]) -> tuple[float, Table]:
        """Mean loss, and its gradient ``[parameters]``."""
        weight = parameters[: -self._outputs].reshape(self._features, self._outputs)
        # Overflow is reported as a loss that is not finite, with the rows that caused it.
        with np.errstate(over="ignore", invalid="ignore"):
            scores = x @ weight + parameters[-self._outputs :]  # [rows, outputs]
            if self._settings.task == "softmax":
                logs = scores - scores.max(axis=1, keepdims=True)
                logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
                at_label = logs[np.arange(len(y)), y]
                loss = -float(at_label.mean())
                slope = np.exp(logs)
                slope[np.arange(len(y)), y] -= 1
            else:
                slope = scores - y[:, None]
                loss = float(np.square(slope).mean() / 2)
            slope /= len(y)
            return loss, np.concatenate([(x.T @ slope).ravel(), slope.sum(axis=0)])

    def _batch(self, client: str, rows: int, step: int) -> npt.NDArray[np.int64]:
        size = self._settings.batch_size
        if size == 0 or size >= rows:
            return np.arange(rows)
        return batch_of(rows, size=size, step=step, seeds=Seeds(self._settings.seed).child("batches", client))

    def _of(self, client: str) -> _Table:
        if client not in self._tables:
            raise UsageError(f'no client "{client}" here', code="federate.unknown-client")
        return self._tables[client]


def _table(held: Mapping[str, npt.NDArray[Any]], client: str) -> _Table:
    x = held[f"{client}/x"].astype(np.float64)
    y = held.get(f"{client}/y")
    if x.ndim != 2 or y is None or y.shape != (len(x),) or len(x) == 0:
        raise DataError(f"client {client} needs x [rows, features] and y [rows]", code="data.shape")
    heldout_x = held.get(f"{client}/heldout_x", x[:0]).astype(np.float64)
    return _Table(x, y, heldout_x, held.get(f"{client}/heldout_y", y[:0]))
