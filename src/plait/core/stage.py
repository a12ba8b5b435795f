"""A stage: one step of a recipe, and all it may touch while it works.

    class Count(Stage):
        '''Counts the lines of a file.'''

        outputs = {"count": "count.txt"}
        lines: InputPath
        '''The file to count.'''

        def run(self, context: StageContext) -> None:
            n = sum(1 for _ in self.lines.open())
            context.output("count").write_text(str(n))
            context.report.headline = f"{n} lines"

A stage reads only its own settings, writes only below ``context.folder``, and takes all randomness from
``context.seeds``; then equal settings give equal bytes and `plait.core.run` may reuse the result. Any class of this
shape works in a recipe by its dotted path.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from plait.core.component import Component
from plait.core.events import EventLog
from plait.core.figures import StageReport
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import UsageError, nearest


class Input:
    """Marks a `Path` setting that must exist before the run starts, or be another stage's output."""


InputPath = Annotated[Path, Input()]
"""A file or folder the stage reads: a path (relative to the recipe's folder), or ``${stage.output}``."""


@dataclass
class StageContext:
    """What a running stage is given.

    Args:
        folder: Where outputs go. It survives a kill, so a stage may find its own unfinished work in it.
        seeds: Root of this stage's random streams.
        engine: Runs functions over shards and hosts actors (`plait.engines`).
        events: The run's event log; metrics and progress go there.
        quarantine: Where bad records go, with their reason; counted in the report.
        report: Filled by the stage; drawn into the run's report.

    A bare one for tests: ``StageContext(folder=tmp_path, seeds=Seeds(7), engine=LocalEngine())``.
    """

    folder: Path
    seeds: Seeds
    engine: Any
    name: str = "stage"
    outputs: Mapping[str, str] = field(default_factory=dict[str, str])
    events: EventLog = field(default_factory=EventLog)
    report: StageReport = field(default_factory=StageReport)
    quarantine: Quarantine = field(init=False)

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.folder / "quarantine.jsonl")

    def output(self, name: str) -> Path:
        """Where the declared output of that name is written.

        Raises:
            UsageError: The stage does not declare it.
        """
        if name not in self.outputs:
            raise UsageError(
                f'stage {self.name} declares no output "{name}"',
                code="stage.unknown-output",
                hint=nearest(name, self.outputs),
            )
        return self.folder / self.outputs[name]

    @property
    def scratch(self) -> Path:
        """A folder for unfinished work (checkpoints): kept after a kill, removed when the stage is done."""
        path = self.folder / "scratch"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def progress(self, what: str, done: float, total: float | None = None, **facts: float | str) -> None:
        """Say how far the work is; shown live and kept in the event log. Call it as often as you like.

        Args:
            what: The unit being counted, e.g. ``documents`` or ``steps``.
            done: How many are done.
            total: How many there are, if known.
            facts: Numbers worth a glance beside it, e.g. ``loss=0.61``.
        """
        self.events.progress(self.name, what, done, total, facts)

    def metric(self, name: str, value: float, *, step: int | None = None) -> None:
        """Record a number by name; with ``step`` it is a point of a curve."""
        self.events.write("metric", stage=self.name, name=name, value=value, step=step)

    def warn(self, message: str) -> None:
        """Tell the person something they should know; shown, logged and repeated in the report."""
        self.report.warnings.append(message)
        self.events.write("warning", stage=self.name, message=message)


class Stage(Component):
    """Base of every stage. Subclasses are frozen settings plus `run`."""

    outputs: ClassVar[Mapping[str, str]] = {}
    """Name of an output → file or folder it is written to, below the stage's folder."""

    @abstractmethod
    def run(self, context: StageContext) -> None:
        """Do the work: read the settings, write every declared output, fill ``context.report``."""

    def fingerprint(self) -> Mapping[str, str]:
        """What else the result depends on, outside the settings and input files (a model's hash, a Python version)."""
        return {}

    def checkable(self) -> None:
        """Raise now, before any work, if the stage cannot run here (a missing extra, a contradiction)."""
