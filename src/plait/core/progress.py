"""What a person sees while a run works: a live table on a terminal, one plain line per event elsewhere.

Both are listeners of the event log, so `plait run` and `plait watch` show the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from plait.core.events import Event
from plait.core.report import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass
class StageProgress:
    """Where one stage stands, as the events tell."""

    state: str = "waiting"
    started: float | None = None
    seconds: float | None = None
    what: str = ""
    done: float = 0.0
    total: float | None = None
    facts: dict[str, float | str] = field(default_factory=dict[str, "float | str"])
    headline: str = ""

    def remaining_s(self, now: float) -> float | None:
        """Seconds left at the pace so far, when the total is known."""
        if self.started is None or not self.total or self.done <= 0:
            return None
        return (now - self.started) * (self.total - self.done) / self.done


@dataclass
class RunProgress:
    """A run's state, built by feeding it events in order."""

    recipe: str = ""
    state: str = "waiting"
    error: str = ""
    stages: dict[str, StageProgress] = field(default_factory=dict[str, StageProgress])
    warnings: list[str] = field(default_factory=list[str])

    def feed(self, event: Event) -> None:
        """Take in one event."""
        kind, name = event["kind"], event.get("stage", "")
        if kind == "run.start":
            self.recipe, self.state, self.error = event["recipe"], "running", ""
            self.stages = {stage: StageProgress() for stage in event["stages"]}
            self.warnings = []
        elif kind.startswith("run."):
            self.state, self.error = kind.removeprefix("run."), event.get("error", "")
            for stage in self.stages.values():
                if stage.state == "running":
                    stage.state = self.state
        elif kind == "warning":
            self.warnings.append(event["message"])
        elif name in self.stages:
            self._feed_stage(self.stages[name], kind, event)

    def _feed_stage(self, stage: StageProgress, kind: str, event: Event) -> None:
        if kind == "stage.start":
            stage.state, stage.started = "running", event["t"]
        elif kind == "progress":
            if event["what"] != stage.what:  # a new phase: its pace starts now
                stage.started = event["t"] if stage.what else stage.started
            stage.what, stage.done, stage.total = event["what"], event["done"], event.get("total")
            known = {"t", "kind", "stage", "what", "done", "total"}
            stage.facts = {k: v for k, v in event.items() if k not in known}
        elif kind in ("stage.done", "stage.reused"):
            stage.state = "reused" if kind == "stage.reused" else "done"
            stage.seconds, stage.headline = event.get("seconds"), event.get("headline", "")


@contextmanager
def terminal_view(*, plain: bool | None = None, stream: TextIO | None = None) -> Generator[Callable[[Event], None]]:
    """A listener that shows a run on the terminal while the block lasts.

    Args:
        plain: One line per event instead of a live table; by default when the output is not a terminal.
        stream: Where to write; standard error by default, so that ``--json`` output stays clean.
    """
    from rich.console import Console

    console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
    if plain if plain is not None else not console.is_terminal:
        yield PlainLines(console).show
        return
    from rich.live import Live

    state = RunProgress()
    with Live(console=console, refresh_per_second=4, get_renderable=lambda: _table(state)):
        yield state.feed
    for warning in state.warnings:
        console.print(f"[yellow]warning[/] {warning}")


@dataclass
class PlainLines:
    """One line when a stage starts, ends or warns, and one every few seconds while it works."""

    console: Console
    every_s: float = 5.0
    _last: float = 0.0

    def show(self, event: Event) -> None:
        """Print an event, if it is worth a line."""
        line = self._line(event)
        if line:
            self.console.print(line, markup=False)

    def _line(self, event: Event) -> str | None:
        kind, stage = event["kind"], event.get("stage", "")
        match kind:
            case "stage.start":
                self._last = time.monotonic()
                return f"{stage}: started ({event['use']})"
            case "stage.done":
                return f"{stage}: done in {duration(event['seconds'])}: {event['headline']}"
            case "stage.reused":
                return f"{stage}: reused: {event['headline']}"
            case "warning":
                return f"{stage + ': ' if stage else ''}warning: {event['message']}"
            case "progress":
                if time.monotonic() - self._last < self.every_s:
                    return None
                self._last = time.monotonic()
                total = f"/{event['total']:g}" if event.get("total") else ""
                known = {"t", "kind", "stage", "what", "done", "total"}
                facts = "".join(f" {k} {_short(v)}" for k, v in event.items() if k not in known)
                return f"{stage}: {event['done']:g}{total} {event['what']}{facts}"
            case _:
                return None


_MARKS = {
    "waiting": "[dim]·[/]", "running": "[cyan]●[/]", "done": "[green]✓[/]", "reused": "[green]=[/]",
    "failed": "[red]✗[/]", "interrupted": "[yellow]‖[/]",
}  # fmt: skip


def _table(state: RunProgress) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    now = time.time()
    table = Table.grid(padding=(0, 2))
    table.add_column(width=1)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(width=20)
    table.add_column(overflow="fold")
    for name, stage in state.stages.items():
        elapsed = stage.seconds if stage.seconds is not None else (now - stage.started if stage.started else None)
        bar = ""
        text = stage.headline
        if stage.state == "running":
            bar = ProgressBar(total=stage.total or None, completed=stage.done, width=20, pulse=not stage.total)
            left = stage.remaining_s(now)
            total = f"/{stage.total:g}" if stage.total else ""
            facts = "".join(f"  {k} {_short(v)}" for k, v in stage.facts.items())
            text = f"{stage.done:g}{total} {stage.what}{facts}" + (f"  [dim]{duration(left)} left[/]" if left else "")
            if not stage.what:
                text = "starting"
        table.add_row(_MARKS.get(stage.state, " "), name, duration(elapsed), bar, text)
    return table


def _short(value: float | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
