from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from plait.errors import LLMError, UsageError
from plait.llm.scripted import Rule, Scripted


def ask(model, text, **call):
    return asyncio.run(model.chat([{"role": "user", "content": text}], **call))


def texts(replies):
    return [reply.text for reply in replies]


def test_answers_come_in_order_and_end():
    model = Scripted(answers=("a", "b", "c")).open()
    assert texts(ask(model, "?")) == ["a"]
    assert texts(ask(model, "?", n=2)) == ["b", "c"]
    with pytest.raises(LLMError, match="call 3 asks for 1 and 0 of 3 answers are left") as caught:
        ask(model, "?")
    assert caught.value.code == "llm.script-exhausted"


def test_a_table_answers_whole_messages_and_names_the_nearest():
    model = Scripted(table={"What is AOP?": "Agent-oriented planning"}).open()
    assert texts(ask(model, "What is AOP?", n=2)) == ["Agent-oriented planning"] * 2
    with pytest.raises(LLMError, match=r"no answer to 'What is AOP'; did you mean"):
        ask(model, "What is AOP")


def test_the_first_rule_that_fits_answers_with_its_groups():
    model = Scripted(
        rules=(
            Rule(pattern=r"(?P<a>\d+) \+ (\d+)", answer=r"\2 + \g<a>"),
            Rule(pattern="(?i)hello.world", answer="hi"),
            Rule(pattern="", answer="what?"),
        )
    ).open()
    assert texts(ask(model, "what is 2 + 3")) == ["3 + 2"]
    assert texts(ask(model, "HELLO\nWORLD")) == ["hi"]
    assert texts(ask(model, "else")) == ["what?"]
    bare = Scripted(rules=(Rule(pattern="x", answer="y"),)).open()
    with pytest.raises(LLMError, match="no rule of the script fits 'z'"):
        ask(bare, "z")


def test_only_the_last_message_is_looked_at():
    model = Scripted(rules=(Rule(pattern="old", answer="no"), Rule(pattern="new", answer="yes"))).open()
    turns = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "new"},
    ]
    assert texts(asyncio.run(model.chat(turns))) == ["yes"]


def test_the_kth_call_fails_and_the_next_gets_its_answer():
    model = Scripted(answers=("a", "b"), fail_calls=(2,)).open()
    assert texts(ask(model, "1")) == ["a"]
    with pytest.raises(LLMError, match="call 2 fails, as scripted"):
        ask(model, "2")
    assert texts(ask(model, "2")) == ["b"]
    assert [call.messages[0]["content"] for call in model.calls] == ["1", "2", "2"]
    assert (model.meter.totals.requests, model.meter.totals.calls) == (3, 2)


def test_stop_and_length_end_a_reply_as_a_model_would():
    model = Scripted(answers=("one two three four", "one two three four", "one two")).open()
    [cut] = ask(model, "a b c", max_tokens=2)
    assert (cut.text, cut.finish, cut.usage.prompt_tokens, cut.usage.completion_tokens) == ("one two", "length", 3, 2)
    [stopped] = ask(model, "a", stop=["four", "three"])
    assert (stopped.text, stopped.finish) == ("one two ", "stop")
    [whole] = ask(model, "a", max_tokens=2)
    assert (whole.text, whole.finish) == ("one two", "stop")


def test_a_scripted_answer_must_satisfy_the_schema():
    model = Scripted(answers=('{"a": 1}', "no")).open()
    schema = {"type": "object", "required": ["a"]}
    assert texts(ask(model, "?", schema=schema)) == ['{"a": 1}']
    with pytest.raises(LLMError, match="is not JSON"):
        ask(model, "?", schema=schema)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"answers": ("a",), "table": {"a": "b"}},
        {"rules": ({"pattern": "(", "answer": ""},)},
        {"rules": ({"pattern": "a", "answer": r"\1"},)},
        {"answers": ("a",), "fail_calls": (0,)},
    ],
)
def test_scripts_that_cannot_work_are_refused_when_built(settings):
    with pytest.raises(ValidationError):
        Scripted(**settings)


@pytest.mark.parametrize(
    "call",
    [{"n": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"max_tokens": 0}, {"stop": [""]}, {"stop": "ab"}],
)
def test_calls_no_model_could_answer_are_refused(call):
    model = Scripted(answers=("a",)).open()
    with pytest.raises(UsageError, match=next(iter(call))):
        ask(model, "?", **call)
    with pytest.raises(UsageError, match="messages is empty"):
        asyncio.run(model.chat([]))
    assert model.calls == []
