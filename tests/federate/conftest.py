from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.federate.learners.numpy_linear import NumpyLinear


@pytest.fixture
def linear(tmp_path: Path) -> NumpyLinear:
    """Five clients of different sizes whose labels follow one rule, each seeing its own region."""
    return write_clients(tmp_path / "clients.npz")


def write_clients(path: Path) -> NumpyLinear:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(4, 3))
    arrays = {}
    for i, rows in enumerate([6, 10, 12, 20, 32]):
        x = rng.normal(loc=rng.normal(size=4), size=(rows, 4))
        arrays |= {f"client-{i}/x": x, f"client-{i}/y": (x @ truth).argmax(axis=1)}
        h = rng.normal(size=(8, 4))
        arrays |= {f"client-{i}/heldout_x": h, f"client-{i}/heldout_y": (h @ truth).argmax(axis=1)}
    np.savez(path, **arrays)
    return NumpyLinear(data=path, classes=3, learning_rate=0.5, batch_size=4, seed=11)
