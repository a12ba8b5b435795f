"""Who may import whom, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "polars",
    "ray",
    "openai",
    "numba",
    "matplotlib",
    "datasets",
    "pyarrow",
    "numpy",
)
ROOT = Path(__file__).parents[2]
PACKAGES = sorted(p.name for p in Path(str(files("plait"))).iterdir() if (p / "__init__.py").exists())


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def seconds(*arguments: str, without: tuple[str, ...] = ("-c", "pass"), repeats: int = 7) -> float:
    """CPU seconds beyond a bare interpreter, best of several: a busy machine makes wall time a lie."""
    code = (
        "import resource, subprocess, sys\n"
        "def cost(a):\n"
        "    best = 1e9\n"
        "    for _ in range(int(sys.argv[1])):\n"
        "        before = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "        subprocess.run([sys.executable, *a], check=True, stdout=subprocess.DEVNULL)\n"
        "        after = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)\n"
        "    return best\n"
        "full, bare = sys.argv[2].split('\\x1f'), sys.argv[3].split('\\x1f')\n"
        "print(cost(full) - cost(bare))\n"
    )
    return float(python("-c", code, str(repeats), "\x1f".join(arguments), "\x1f".join(without)))


def test_import_plait_is_free():
    assert seconds("-c", "import plait") <= 0.050


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("llm", "--help")])
def test_help_is_quick(arguments):
    assert seconds("-m", "plait", *arguments) <= 0.300


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(package):
    code = f"import sys, plait.{package}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    assert python("-c", code).split() == []


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['plait', '--help']\nfrom plait.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', *[m for m in {(*HEAVY, 'pydantic')!r} if m in sys.modules])"
    )
    assert python("-c", code).splitlines()[-1] == "HEAVY"


def test_layers_hold():
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stdout
