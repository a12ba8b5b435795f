from __future__ import annotations

import io

from plait.core.events import EventLog
from plait.core.progress import RunProgress, terminal_view


def play(log: EventLog) -> None:
    log.write("run.start", recipe="toy", stages=["curate", "align"], seed=7)
    log.write("stage.reused", stage="curate", headline="kept 3")
    log.write("stage.start", stage="align", use="align.preference")
    log.progress("align", "steps", 5, 10, {"loss": 0.61234})
    log.write("warning", stage="align", message="slow")
    log.write("stage.done", stage="align", seconds=75.0, headline="accuracy 0.8")
    log.write("run.done", seconds=80.0)


def test_state_is_built_from_events():
    log, state = EventLog(), RunProgress()
    log.listeners.append(state.feed)
    play(log)
    assert state.state == "done"
    assert {n: s.state for n, s in state.stages.items()} == {"curate": "reused", "align": "done"}
    assert state.stages["align"].headline == "accuracy 0.8"
    assert state.warnings == ["slow"]


def test_failure_marks_the_running_stage():
    log, state = EventLog(), RunProgress()
    log.listeners.append(state.feed)
    log.write("run.start", recipe="toy", stages=["a", "b"], seed=7)
    log.write("stage.start", stage="a", use="x")
    log.write("run.failed", error="boom")
    assert [s.state for s in state.stages.values()] == ["failed", "waiting"]
    assert state.error == "boom"


def test_pace_gives_the_time_left():
    state = RunProgress()
    state.feed({"t": 100.0, "kind": "run.start", "recipe": "r", "stages": ["a"]})
    state.feed({"t": 100.0, "kind": "stage.start", "stage": "a", "use": "x"})
    state.feed({"t": 110.0, "kind": "progress", "stage": "a", "what": "steps", "done": 5, "total": 20})
    assert state.stages["a"].remaining_s(now=110.0) == 30.0


def test_elsewhere_than_a_terminal_lines_are_plain():
    out, log = io.StringIO(), EventLog()
    with terminal_view(stream=out) as listener:
        log.listeners.append(listener)
        play(log)
    assert out.getvalue().splitlines() == [
        "curate: reused: kept 3",
        "align: started (align.preference)",
        "align: warning: slow",
        "align: done in 1 min 15 s: accuracy 0.8",
    ]


def test_terminal_shows_a_live_table():
    out, log = io.StringIO(), EventLog()
    with terminal_view(plain=False, stream=out) as listener:
        log.listeners.append(listener)
        play(log)
    assert "accuracy 0.8" in out.getvalue()
    assert "warning" in out.getvalue()
