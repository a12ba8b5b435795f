"""The peer in an environment of its own, asked through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def peer_python(name: str) -> Path | None:
    """The Python of a peer's environment that ``make peers`` built, if there is one."""
    python = Path(os.environ.get("PLAIT_PEERS", ROOT / ".peers")) / name / "bin" / "python"
    return python if python.exists() else None


class Peer:
    """A running driver; see `parity.driver`."""

    def __init__(self, python: Path, home: Path) -> None:
        # The peer installs packages and fetches word lists while it runs; here it may do neither.
        offline = {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        folders = {"DATA_JUICER_CACHE_HOME": str(home), "HF_HOME": str(home)}
        self._log = (home / "driver.log").open("w")
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            cwd=home,
            env={**os.environ, **offline, **folders, "PYTHONPATH": ""},
        )

    def names(self) -> set[str]:
        """Every operation the peer knows."""
        return set(self._ask({"do": "names"})["names"])

    def load(self, rows: Path) -> None:
        """Give it the rows, a JSON-lines file."""
        self._ask({"do": "rows", "path": str(rows)})

    def run(
        self, op: str, settings: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """What an operation does to each row."""
        request: dict[str, Any] = {"do": "run", "op": op, "settings": list(settings)}
        return self._ask(request if rows is None else {**request, "rows": list(rows)})

    def close(self) -> None:
        """End the driver."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._log.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer's driver ended:\n{Path(self._log.name).read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{request.get('op', request['do'])}: {answer['error']}")
        return answer
