"""Where a run ran: versions, hardware and seed, for ``env.json`` and `plait doctor`. No host or user names."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import plait

PACKAGES = (
    "numpy", "pyarrow", "polars", "numba", "ftfy", "torch", "transformers", "peft", "safetensors", "datasets",
    "openai", "xgrammar", "ray", "flwr",
)  # fmt: skip
"""Packages whose version can change a result."""


def describe_environment(*, seed: int | None = None) -> dict[str, Any]:
    """Everything that may explain why two equal recipes gave different numbers."""
    import psutil

    return {
        "plait": plait.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "seed": seed,
        "packages": {name: v for name in PACKAGES if (v := installed_version(name))},
    }


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, or ``None``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The git commit of a source checkout; ``None`` for an installed wheel or without git."""
    source = Path(plait.__file__).parents[2]
    if not (source / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "-C", str(source), "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return shown.stdout.strip() or None
