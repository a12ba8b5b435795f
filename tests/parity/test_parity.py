"""Every deterministic operation that Data-Juicer 1.6.1 also has gives its answers, known differences apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from parity import compare, corpus
from parity.exceptions import DIFFERENCES, Difference
from parity.peer import Peer
from parity.settings import LEFT_OUT, OF_CONVERSATIONS, OF_SESSIONS, SETTINGS, Settings
from plait.core.catalog import load
from plait.data.catalog import OPS
from plait.data.op import Filter, Mapper, Op

pytestmark = pytest.mark.parity


def test_every_operation_of_both_is_compared(data_juicer: Peer) -> None:
    shared = OPS.keys() & data_juicer.names()
    tried = {*SETTINGS, *OF_CONVERSATIONS, *OF_SESSIONS}
    kinds = {name: load(OPS[name].path) for name in shared - tried - LEFT_OUT.keys()}
    models = {
        n for n, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Op) and _needs_a_model(kind)
    }
    assert kinds.keys() - models == set()


def test_what_is_named_here_exists() -> None:
    assert {difference.op for difference in DIFFERENCES} - OPS.keys() == set()


@pytest.mark.parametrize("name", [name for name in SETTINGS if name in OPS])
def test_same_answers(name: str, rows: list[dict[str, Any]], data_juicer: Peer, words_folder: str) -> None:
    _same_answers(name, SETTINGS[name], rows, data_juicer, words_folder)


@pytest.mark.parametrize("name", OF_CONVERSATIONS)
def test_same_answers_on_conversations(name: str, data_juicer: Peer, words_folder: str) -> None:
    _same_answers(name, OF_CONVERSATIONS[name], corpus.conversations(), data_juicer, words_folder, given=True)


@pytest.mark.parametrize("name", OF_SESSIONS)
def test_same_answers_on_sessions(name: str, data_juicer: Peer, words_folder: str, tmp_path: Path) -> None:
    thresholds = tmp_path / "thresholds.json"
    of_all = {"max_total_tokens": 900, "max_latency_ms": 500, "perplexity_high_threshold": 400}
    thresholds.write_text(json.dumps({"default": of_all, "by_request_model": {"small": {"max_total_tokens": 5}}}))
    for settings in OF_SESSIONS[name]:
        chosen = {key: str(thresholds) if value == "THRESHOLDS" else value for key, value in settings.items()}
        _same_answers(name, [chosen], corpus.sessions(), data_juicer, words_folder, given=True)


def _same_answers(
    name: str,
    to_try: Sequence[Settings],
    rows: Sequence[dict[str, Any]],
    data_juicer: Peer,
    words_folder: str,
    *,
    given: bool = False,
) -> None:
    """Compare on rows the peer has, or on rows that are given to it."""
    kind = load(OPS[name].path)
    assert isinstance(kind, type)
    assert issubclass(kind, Op)
    known = [difference for difference in DIFFERENCES if difference.op == name]
    used = set[Difference]()
    failures = list[str]()
    for chosen in to_try:
        settings = {k: words_folder if v == "WORDS" else v for k, v in chosen.items()}
        tried = compare.bounds_to_try(kind, settings, rows)
        there = compare.theirs(data_juicer, name, tried, rows if given else None, len(rows))
        for compat in (False, True) if "compat" in kind.model_fields else (False,):
            more = {"compat": "data-juicer"} if compat else {}
            ours = [{**one, **more} for one in tried]
            found = compare.mismatches(rows, compare.ours(kind, ours, rows), there, ours)
            left = compare.unexplained(name, found, known, used, compat=compat)
            groups = dict[tuple[str, ...], list[compare.Mismatch]]()
            for mismatch in left:
                groups.setdefault((mismatch.what, *mismatch.settings), []).append(mismatch)
            failures += [_report(name, kind, group, data_juicer, len(rows)) for group in groups.values()]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)
    assert [difference for difference in known if difference not in used] == [], "differ no longer"


def _needs_a_model(kind: type[Op]) -> bool:
    return kind.cost in ("small-model", "model", "llm") or not kind.deterministic


def _report(name: str, kind: type[Op], left: list[compare.Mismatch], peer: Peer, count: int) -> str:
    """How many rows differ, and the smallest text that does."""
    first = min(left, key=lambda mismatch: len(mismatch.row["text"]))
    if issubclass(kind, Filter | Mapper):
        plain = {key: value for key, value in first.settings.items() if key != "compat"}

        def again(rows: list[dict[str, Any]]) -> list[compare.Mismatch]:
            there = compare.theirs(peer, name, [plain], rows, len(rows))
            found = compare.mismatches(rows, compare.ours(kind, [first.settings], rows), there, [first.settings])
            return [mismatch for mismatch in found if mismatch.what == first.what]

        def differs(rows: list[dict[str, Any]]) -> list[bool]:
            numbered = [{**row, "number": number} for number, row in enumerate(rows)]
            bad = {mismatch.row["number"] for mismatch in again(numbered)}
            return [number in bad for number in range(len(rows))]

        shortest = [{**compare.shrunk(first, differs), "number": 0}]
        first = (again(shortest) or [first])[0]
    return f"{name}: {len(left)} of {count} answers differ; the smallest: {first}"
