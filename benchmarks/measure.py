"""Wall-clock seconds, processor seconds and memory of a command and all processes it starts."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
# Installed programs have their byte code beside them; where writing it is forbidden, an editable one would have none.
_OURS = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Args:
        wall: Seconds from start to end.
        cpu: Processor seconds, user and system, of the whole tree of processes.
        memory_mib: Largest sum of proportional set sizes seen: shared pages count once.
        output: What it wrote.
    """

    wall: float
    cpu: float
    memory_mib: float
    output: str

    def metrics(self) -> dict[str, float]:
        """As a benchmark's metrics."""
        return {"wall s": self.wall, "CPU s": self.cpu, "peak MiB": self.memory_mib}


def measure(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None, every: float = 0.1
) -> Measured:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        log: Where its output goes.
        environment: Variables beyond our own.
        every: Seconds between two looks at its memory; more where a look takes so long that it would cost more than a
            twentieth of a processor.

    Raises:
        RuntimeError: It failed.
    """
    peak, seconds = 0.0, dict[tuple[int, int], float]()
    ended = threading.Event()
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_OURS, **(environment or {})},
        )

        def watch() -> None:
            nonlocal peak
            took = 0.0
            while not ended.wait(max(every, 20 * took)):
                begin = time.perf_counter()
                tree = _tree(process.pid)
                seconds.update({(pid, born): spent for pid, born, spent in tree})
                peak = max(peak, sum(_pss_kib(pid) for pid, _, _ in tree) / 1024)
                took = time.perf_counter() - begin

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watcher.join()
    text = log.read_text(errors="replace")
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{text[-3_000:]}")
    # The kernel adds up what was waited for; orphans are only seen by the watcher.
    return Measured(wall, max(usage.ru_utime + usage.ru_stime, sum(seconds.values())), peak, text)


def _tree(root: int) -> list[tuple[int, int, float]]:
    """Process, when it was born, and processor seconds so far, of a process and all below it."""
    children, found = dict[int, list[tuple[int, int, float]]](), list[tuple[int, int, float]]()
    for name in (entry.name for entry in Path("/proc").iterdir()):
        if not name.isdigit():
            continue
        try:
            fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        entry = int(name), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICKS
        children.setdefault(int(fields[1]), []).append(entry)
        if entry[0] == root:
            found.append(entry)
    for pid, _, _ in found:
        found += children.get(pid, [])
    return found


def _pss_kib(pid: int) -> int:
    try:
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass  # it ended meanwhile, or is about to
    return 0
