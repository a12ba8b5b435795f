from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.core.events import EventLog, read_events

TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


def test_events_come_back_in_order_and_are_readable_text(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.write("metric", stage="align", name="loss", value=0.5, step=None)
    log.write("warning", message="β ≠ 0")
    events = list(read_events(tmp_path / "events.jsonl"))
    assert [e["kind"] for e in events] == ["metric", "warning"]
    assert "step" not in events[0]
    assert "β ≠ 0" in (tmp_path / "events.jsonl").read_text(encoding="utf-8")


@given(messages=st.lists(TEXT, min_size=1, max_size=5), cut=st.integers(1, 10_000))
def test_log_torn_anywhere_keeps_every_complete_event(tmp_path_factory, messages, cut):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    log = EventLog(path)
    for message in messages:
        log.write("note", message=message)
    whole = path.read_bytes()
    keep = whole[: max(0, len(whole) - cut)]
    path.write_bytes(keep)
    complete = keep.count(b"\n")
    assert len(list(read_events(path))) == complete
    torn = len(keep) - (keep.rfind(b"\n") + 1)
    EventLog(path).write("after")
    events = list(read_events(path))
    assert [e["kind"] for e in events] == ["note"] * complete + ["warning"] * (torn > 0) + ["after"]
    if torn:
        assert f"{torn} bytes" in events[complete]["message"]


def test_damage_in_the_middle_is_not_hidden(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"t": 1, "kind": "a"}\n{oops\n{"t": 2, "kind": "b"}\n')
    with pytest.raises(json.JSONDecodeError):
        list(read_events(path))


def test_progress_reaches_listeners_always_and_the_file_sparingly(tmp_path):
    told = []
    log = EventLog(tmp_path / "events.jsonl", [told.append])
    for done in range(1, 1001):
        log.progress("curate", "documents", done, 1000, {"rate": 3.0})
    written = list(read_events(tmp_path / "events.jsonl"))
    assert len(told) == 1000
    assert 2 <= len(written) < 50
    assert written[0]["done"] == 1
    assert written[-1]["done"] == 1000


def test_two_writers_do_not_mix_lines(tmp_path):
    first, second = EventLog(tmp_path / "e.jsonl"), EventLog(tmp_path / "e.jsonl")
    for i in range(50):
        (first if i % 2 else second).write("n", i=i, pad="x" * 5000)
    assert [e["i"] for e in read_events(tmp_path / "e.jsonl")] == list(range(50))
