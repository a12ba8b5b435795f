"""Small real stages for the tests of recipes and runs; recipes name them by dotted path."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plait.core.component import Component
from plait.core.stage import InputPath, Stage, StageContext


class Shape(Component):
    width: int = 3
    """Letters per line."""


class Write(Stage):
    """Writes random lines, in chunks it can go on from after a kill."""

    outputs: ClassVar[Mapping[str, str]] = {"text": "text.txt", "chunks": "chunks"}

    lines: int = 10
    """How many lines."""

    shape: Shape = Shape()
    """How they look."""

    kill_at: int = -1
    """Kill the process before this line, once."""

    fill_mb: int = 0
    """Megabytes of ballast to write."""

    def run(self, context: StageContext) -> None:
        chunks = context.output("chunks")
        chunks.mkdir(exist_ok=True)
        for i in range(self.lines):
            marker = context.scratch / "killed"
            if i == self.kill_at and not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            letters = context.seeds.child(i).numpy().integers(97, 123, self.shape.width)
            (chunks / f"{i:03d}").write_text("".join(map(chr, letters)))
            context.progress("lines", i + 1, self.lines)
            context.metric("line", i, step=i)
        for megabyte in range(self.fill_mb):
            (context.output("chunks") / f"ballast{megabyte}").write_bytes(bytes(2**20))
        text = "\n".join(p.read_text() for p in sorted(chunks.iterdir()) if p.name.isdigit())
        context.output("text").write_text(text + "\n")
        context.report.headline = f"wrote {self.lines} lines"
        context.report.facts["lines"] = self.lines


class Count(Stage):
    """Counts the lines of files; a line that says bad is set aside."""

    outputs: ClassVar[Mapping[str, str]] = {"count": "count.txt"}

    text: InputPath
    """The file to count."""

    more: tuple[InputPath, ...] = ()
    """Further files."""

    max_bad_fraction: float = 1.0
    """Largest share of bad lines tolerated."""

    def run(self, context: StageContext) -> None:
        good = 0
        for path in [self.text, *self.more]:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line == "bad":
                    context.quarantine.add(where=f"{path.name}:{number}", reason="says bad", record=line)
                else:
                    good += 1
        context.quarantine.check(
            good + context.quarantine.total, max_bad_fraction=self.max_bad_fraction, where=str(self.text)
        )
        context.output("count").write_text(str(good))
        context.report.headline = f"{good} lines"


class Fail(Stage):
    """Fails as asked."""

    outputs: ClassVar[Mapping[str, str]] = {"never": "never.txt"}

    how: str = "value"
    """value, nothing or interrupt."""

    def run(self, context: StageContext) -> None:
        if self.how == "value":
            raise ValueError("seven is not eight")
        if self.how == "interrupt":
            raise KeyboardInterrupt
        Path(context.folder / "other.txt").touch()


class External(Stage):
    """Depends on something outside its settings."""

    outputs: ClassVar[Mapping[str, str]] = {"seen": "seen.txt"}

    def fingerprint(self) -> dict[str, str]:
        return {"weather": os.environ.get("TOY_WEATHER", "")}

    def run(self, context: StageContext) -> None:
        context.output("seen").write_text(os.environ.get("TOY_WEATHER", ""))
        context.report.headline = "seen"


not_a_stage = 3
