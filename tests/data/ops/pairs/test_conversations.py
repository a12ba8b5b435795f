"""Filters for conversations, by hand."""

from __future__ import annotations

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.data.ops.pairs.conversations import ConversationEchoFilter, ConversationRolesFilter, ConversationTurnsFilter
from plait.errors import DataError


def talk(*turns: str) -> list[dict[str, str]]:
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool", "x": "narrator"}
    return [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]


def batch(*talks: list[dict[str, str]]) -> Batch:
    kind = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    return Batch.of(pl.DataFrame({"messages": pl.Series(talks, dtype=kind)}))


def test_turns_are_counted():
    rows = batch(talk("u hi", "a hello", "u bye"), talk("u hi"), [])
    assert ConversationTurnsFilter().value(rows).tolist() == [3, 1, 0]
    assert ConversationTurnsFilter(role="user").value(rows).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        (("u hi", "a hello"), None),
        (("s be kind", "u hi", "a hello", "u more", "a yes"), None),
        (("u hi", "a look", "t found", "t more", "a there"), None),
        ((), "no message"),
        (("x once", "a hello"), "unknown role"),
        (("u hi", "s late", "a hello"), "system message not first"),
        (("u hi", "a  "), "empty message"),
        (("u hi", "u hi", "a hello"), "two turns of one role in a row"),
        (("u hi",), "does not end with assistant"),
    ],
)
def test_roles(turns, problem):
    op = ConversationRolesFilter()
    stats = op.measure(batch(talk(*turns)))
    assert stats["role_problem"].to_list() == [problem]
    assert op.keeps(batch(talk(*turns)), stats).tolist() == [problem is None]


def test_an_open_end_may_be_allowed():
    op = ConversationRolesFilter(end_with_assistant=False)
    assert op.measure(batch(talk("u hi")))["role_problem"].to_list() == [None]


def test_an_echo_is_an_answer_like_what_it_answers():
    rows = batch(
        talk("u one two three", "a one two three"), talk("u one two three", "a four five six"), talk("a alone"), []
    )
    assert ConversationEchoFilter().value(rows).tolist() == [1.0, 0.0, 0.0, 0.0]
    mixed = batch(talk("u one two three", "a one two four"))
    assert ConversationEchoFilter().value(mixed) == pytest.approx([1 / 3])


def test_texts_are_no_messages():
    with pytest.raises(DataError, match="list of messages"):
        ConversationTurnsFilter().value(Batch.of(pl.DataFrame({"messages": ["hi"]})))


def test_what_is_said_may_come_in_parts():
    said = [{"type": "text", "text": "hi"}, {"type": "image", "text": None}]
    frame = pl.DataFrame({"messages": [[{"role": "user", "content": said}, {"role": "assistant", "content": said}]]})
    assert ConversationRolesFilter().measure(Batch.of(frame))["role_problem"].to_list() == [None]
    assert ConversationEchoFilter().value(Batch.of(frame)).tolist() == [1.0]


def test_no_conversation_has_no_echo():
    rows = batch(talk("u hi", "a hello"), None)
    op = ConversationEchoFilter()
    assert op.inside(op.value(rows)).tolist() == [True, False]
