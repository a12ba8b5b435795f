"""The event log: one append-only ``events.jsonl`` per run, from which every view of a run is made.

Each line is one event ``{"t": seconds since the epoch, "kind": …, …}``. A process killed while writing leaves a torn
last line: readers skip it, and the next writer cuts it off and says so with an event of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]

_PROGRESS_INTERVAL_S = 0.5


@dataclass
class EventLog:
    """Appends events to a file and hands each to whoever listens (a terminal view).

    Args:
        path: The log; ``None`` keeps events in memory (tests, one-off use).
        listeners: Called with each event, also with progress that is too frequent to be written.

    Example:
        >>> log = EventLog()
        >>> log.write("metric", stage="align", name="loss", value=0.5)
        >>> log.memory[0]["name"]
        'loss'
    """

    path: Path | None = None
    listeners: list[Callable[[Event], None]] = field(default_factory=list[Callable[[Event], None]])
    memory: list[Event] = field(default_factory=list[Event])
    _last_progress: dict[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            cut = _cut_torn_line(self.path)
            if cut:
                self.write("warning", message=f"cut a torn last line of {cut} bytes, left by a killed process")

    def write(self, kind: str, **facts: Any) -> None:
        """Append one event; it is in the file when this returns."""
        event: Event = {"t": round(time.time(), 3), "kind": kind} | {k: v for k, v in facts.items() if v is not None}
        if self.path is None:
            self.memory.append(event)
        else:
            line = json.dumps(event, ensure_ascii=False, default=str) + "\n"
            # One write of one line: on a crash at most the last line is torn.
            with self.path.open("ab", buffering=0) as out:
                out.write(line.encode("utf-8", "backslashreplace"))
        self._tell(event)

    def progress(
        self, stage: str, what: str, done: float, total: float | None, facts: Mapping[str, float | str]
    ) -> None:
        """A progress event: always told to listeners, written at most twice a second and at the end."""
        now = time.monotonic()
        finished = total is not None and done >= total
        key = f"{stage}/{what}"
        event = {"stage": stage, "what": what, "done": done, "total": total, **facts}
        if finished or now - self._last_progress.get(key, -1e9) >= _PROGRESS_INTERVAL_S:
            self._last_progress[key] = now
            self.write("progress", **event)
        else:
            self._tell({"t": round(time.time(), 3), "kind": "progress", **event})

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def read_events(path: Path) -> Iterator[Event]:
    """The events of a log, in order; a torn last line is not an event.

    Raises:
        ValueError: A complete line is not JSON, so the file is damaged elsewhere than at its end.
    """
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)


def _cut_torn_line(path: Path) -> int:
    """Remove what follows the last newline; returns how many bytes that was."""
    if not path.exists():
        return 0
    with path.open("rb+") as log:
        data = log.read()
        keep = data.rfind(b"\n") + 1
        log.truncate(keep)
        return len(data) - keep
