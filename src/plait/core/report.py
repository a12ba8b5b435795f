"""The run's report: ``report.html`` and ``report.md``, made from the run folder and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from plait.core.draw import draw_svg
from plait.core.events import Event
from plait.core.figures import StageReport
from plait.core.folder import RunFolder, read_done, write_text

_TEMPLATES = Path(__file__).parent / "templates"


class _RecipeFacts(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def next(self) -> tuple[str, ...]: ...
    def ordered(self) -> Any: ...


@dataclass(frozen=True)
class StageView:
    """One stage as the report shows it."""

    number: int
    name: str
    use: str
    state: str
    """finished, reused, failed or waiting."""
    seconds: float | None
    report: StageReport
    figures: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """``(svg, note)``."""
    files: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """``(path in the run folder, bytes)``."""


def write_report(folder: RunFolder, recipe: _RecipeFacts) -> None:
    """Write ``report.html``, ``report.md`` and the figures as files beside it."""
    events = folder.read_events()
    stages = [_view(folder, n, spec, events) for n, spec in enumerate(recipe.ordered(), 1)]
    facts = {
        "recipe": recipe,
        "stages": stages,
        "failure": _failure(events),
        "seconds": sum(s.seconds or 0.0 for s in stages),
        "finished": _when(events),
        "environment": json.loads((folder.path / "env.json").read_bytes()),
        "warnings": [e["message"] for e in events if e["kind"] == "warning" and "stage" not in e],
        "quarantine": sorted(p.name for p in (folder.path / "quarantine").glob("*.jsonl")),
        "folder": folder.path.name,
    }
    for stage in stages:
        for index, (svg, _) in enumerate(stage.figures, 1):
            target = folder.path / "figures" / f"{stage.number:02d}-{stage.name}-{index}.svg"
            target.parent.mkdir(exist_ok=True)
            write_text(target, svg)
    for name in ("report.html", "report.md"):
        write_text(folder.path / name, _render(f"{name}.j2", facts))


def write_page(path: Path, report: StageReport, *, title: str, meta: str) -> None:
    """Write one report as a page of its own.

    Args:
        path: The ``.html`` file.
        report: What to show.
        title: Its heading.
        meta: A line below the heading.
    """
    view = StageView(1, title, "", "finished", None, report, [(draw_svg(f), f.note) for f in report.figures])
    write_text(path, _render("page.html.j2", {"title": title, "meta": meta, "s": view}))


def _render(template: str, facts: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=".html" in template,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "number": number, "size": size, "cell": _cell}
    return environment.get_template(template).render(facts)


def _view(folder: RunFolder, n: int, spec: Any, events: list[Event]) -> StageView:
    place = folder.stage(n, spec.name)
    seconds = [e["seconds"] for e in events if e["kind"] == "stage.done" and e["stage"] == spec.name]
    latest = max(i for i, e in enumerate(events) if e["kind"] == "run.start")
    kinds = [e["kind"] for e in events[latest:] if e.get("stage") == spec.name]
    done = read_done(place)
    # A folder of an earlier attempt under other settings may still be there: only this attempt's results are shown.
    if done is None or not {"stage.done", "stage.reused"} & set(kinds):
        state = "failed" if "stage.start" in kinds else "waiting"
        return StageView(n, spec.name, spec.use, state, None, StageReport())
    report = folder.read_report(place)
    return StageView(
        number=n,
        name=spec.name,
        use=spec.use,
        state="reused" if "stage.reused" in kinds else "finished",
        seconds=seconds[-1] if seconds else None,
        report=report,
        figures=[(draw_svg(f), f.note) for f in report.figures],
        files=[
            (f"stages/{place.name}/{name}", (place / name).stat().st_size)
            for name in sorted(done.files)
            if name != "report.json"
        ],
    )


def _failure(events: list[Event]) -> str | None:
    """Why the latest attempt ended early, if it did."""
    last = [e for e in events if e["kind"].startswith("run.")]
    return last[-1].get("error") if last and last[-1]["kind"] == "run.failed" else None


def _when(events: list[Event]) -> str:
    moment = dt.datetime.fromtimestamp(events[-1]["t"], tz=dt.UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M")


def duration(seconds: float | None) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(3.21), duration(75), duration(None)
        ('3.2 s', '1 min 15 s', '')
    """
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def number(value: str | float | None) -> str:
    """A number with as many digits as are worth reading; text as it is.

    Example:
        >>> number(12345), number(0.123456), number(12.5), number("x"), number(None)
        ('12,345', '0.1235', '12.5', 'x', '')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"


def size(count: int) -> str:
    """Bytes as a person says them.

    Example:
        >>> size(512), size(2_500_000)
        ('512 B', '2.5 MB')
    """
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count_in = count / 1000 ** (("kB", "MB", "GB", "TB").index(unit) + 1)
        if count_in < 1000:
            return f"{count_in:.1f} {unit}"
    return f"{count / 1e12:.0f} TB"


def _cell(value: str | float | None) -> str:
    """A Markdown table cell: bars and line breaks would end it."""
    return number(value).replace("|", "\\|").replace("\n", " ")
