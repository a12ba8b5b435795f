from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import LLMError, ReplayMiss, UsageError
from plait.llm.base import ChatComponent, Reply, Usage
from plait.llm.recording import call_key, plain_call
from plait.llm.replay import Replay
from plait.llm.scripted import Scripted

BASE = {
    "messages": [{"role": "user", "content": "hi"}],
    "model": "m",
    "n": 1,
    "temperature": 0.0,
    "max_tokens": 8,
    "stop": (),
    "seed": None,
    "schema": None,
}


def key(**changes):
    call = BASE | changes
    messages = call.pop("messages")
    return call_key(plain_call(messages, **call))


roles = st.sampled_from(["system", "user", "assistant", "tool"])
messages = st.lists(st.fixed_dictionaries({"role": roles, "content": st.text()}), min_size=1, max_size=4)
calls = st.fixed_dictionaries(
    {
        "messages": messages,
        "model": st.text(max_size=5),
        "n": st.integers(1, 5),
        "temperature": st.floats(0, 2, allow_nan=False),
        "max_tokens": st.integers(1, 9),
        "stop": st.lists(st.text(min_size=1, max_size=3), max_size=3).map(tuple),
        "seed": st.none() | st.integers(0, 2**63),
        "schema": st.none() | st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3),
    }
)


@given(calls, calls)
def test_keys_are_equal_exactly_when_calls_are(one, two):
    # Schemas are compared as text, since the order of their keys matters.
    same = one == two and json.dumps(one["schema"]) == json.dumps(two["schema"])
    assert (key(**one) == key(**two)) == same


@given(calls)
def test_keys_do_not_depend_on_how_equal_values_are_written(call):
    assert key(**call) == key(
        **call
        | {
            "messages": [dict(reversed(m.items())) for m in call["messages"]],
            "temperature": -0.0 if call["temperature"] == 0 else call["temperature"],
            "stop": list(call["stop"]),
        }
    )


@given(calls, st.text(min_size=1))
def test_any_longer_message_has_another_key(call, more):
    longer = [m | {"content": m["content"] + more} for m in call["messages"]]
    assert key(**call) != key(**call | {"messages": longer})
    assert key(**call) != key(**call | {"messages": [*call["messages"], {"role": "user", "content": ""}]})


def test_the_order_of_schema_properties_counts():
    one, two = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert key(schema=one) != key(schema=two)


class Named(Scripted):
    """A script that can be changed under one identity, as a sampling model's answers change."""

    def identity(self) -> str:
        return "named"


def replay(path, mode, *answers, **settings):
    return Replay(inner=Named(answers=answers, **settings), path=path, mode=mode)


def ask(model, *texts, **call):
    """One call after another; the texts of the first replies."""

    async def main():
        try:
            return [(await model.chat([{"role": "user", "content": t}], **call))[0].text for t in texts]
        finally:
            await model.aclose()

    return asyncio.run(main())


class Counting(ChatComponent):
    """A model with an identity of its own that must not be opened."""

    name: str = "m"

    def identity(self) -> str:
        return self.name

    def open(self):
        raise AssertionError("opened")


class Numbered(Counting):
    """Answers with a number that grows, and with all that a reply can hold."""

    def open(self):
        return NumberedModel()


class NumberedModel:
    def __init__(self):
        self.count = 0

    async def chat(self, messages, *, n=1, **_):
        self.count += 1
        return [
            Reply(f"{self.count}.{i} \ud800 é", Usage(3, 2, 0.1 + 0.2), logprobs=(-0.1, -1e-17), finish="length")
            for i in range(n)
        ]

    async def aclose(self):
        self.closed = True


def test_replies_come_back_exactly_and_the_model_is_never_opened(tmp_path):
    path = tmp_path / "calls.jsonl"
    ask_twice = [[{"role": "user", "content": "q"}], [{"role": "user", "content": "q"}]]

    async def run(model):
        try:
            return [await model.chat(m, n=2, temperature=0.7) for m in ask_twice]
        finally:
            await model.aclose()

    recorded = asyncio.run(run(Replay(inner=Numbered(), path=path, mode="record").open()))
    assert [[r.text[:3] for r in replies] for replies in recorded] == [["1.0", "1.1"], ["2.0", "2.1"]]
    replayed = Replay(inner=Counting(), path=path, mode="replay").open()
    assert asyncio.run(run(replayed)) == recorded
    assert replayed.meter.totals.cache_hits == 2
    assert replayed.meter.totals.requests == 0


def test_equal_calls_get_their_answers_in_order_and_no_more(tmp_path):
    path = tmp_path / "calls.jsonl"
    assert ask(replay(path, "record", "a", "b", "c").open(), "x", "y", "x") == ["a", "b", "c"]
    assert ask(replay(path, "replay", "-").open(), "x", "x", "y") == ["a", "c", "b"]
    with pytest.raises(ReplayMiss, match="recorded 2 times and was asked once more"):
        ask(replay(path, "replay", "-").open(), "x", "x", "x")


def test_concurrent_equal_calls_replay_in_the_order_they_were_asked(tmp_path):
    path = tmp_path / "calls.jsonl"

    async def run(model):
        asked = [model.chat([{"role": "user", "content": "x"}]) for _ in range(5)]
        replies = await asyncio.gather(*asked)
        await model.aclose()
        return [r[0].text for r in replies]

    first = asyncio.run(run(replay(path, "auto", *"abcde", latency_s=0.01).open()))
    assert asyncio.run(run(replay(path, "replay", "-").open())) == first == list("abcde")


def test_auto_asks_only_what_is_not_recorded(tmp_path):
    path = tmp_path / "calls.jsonl"
    assert ask(replay(path, "auto", "a", "b").open(), "x", "y") == ["a", "b"]
    model = replay(path, "auto", "c").open()
    assert ask(model, "x", "z", "y") == ["a", "c", "b"]
    assert (model.meter.totals.cache_hits, model.meter.totals.requests) == (2, 1)
    assert ask(replay(path, "replay", "-").open(), "z", "x", "y") == ["c", "a", "b"]


def test_a_failed_call_leaves_no_gap(tmp_path):
    path = tmp_path / "calls.jsonl"

    async def run(model):
        texts = []
        for _ in range(3):
            try:
                texts.append((await model.chat([{"role": "user", "content": "x"}]))[0].text)
            except LLMError as error:
                texts.append(error.code)
        await model.aclose()
        return texts

    assert asyncio.run(run(replay(path, "record", "a", "b", fail_calls=(1,)).open())) == [
        "llm.scripted-failure",
        "a",
        "b",
    ]
    assert ask(replay(path, "replay", "-", fail_calls=(1,)).open(), "x", "x") == ["a", "b"]


def test_a_miss_says_which_part_differs_from_the_nearest(tmp_path):
    path = tmp_path / "calls.jsonl"

    async def record():
        model = replay(path, "record", "a", "b").open()
        await model.chat([{"role": "user", "content": "Name a river in France."}], seed=1)
        await model.chat([{"role": "user", "content": "Name a town in Spain."}], seed=1, max_tokens=9)
        await model.aclose()

    asyncio.run(record())
    for call, text, says in [
        ({"seed": 2}, "Name a river in France.", "line 1, differs: seed is 2, recorded 1;"),
        ({"seed": 1}, "Name a river in Spain.", "line 1, differs: messages[0] differs from character 16 on:"),
        ({"seed": 1, "max_tokens": 9, "stop": ["x"]}, "Name a town in Spain.", "line 2, differs: stop is ['x']"),
        (
            {"seed": 2, "temperature": 0.5},
            "Name a river in France.",
            "line 1, differs: temperature is 0.5, recorded 0.0; seed is 2, recorded 1;",
        ),
    ]:
        with pytest.raises(ReplayMiss) as caught:
            ask(replay(path, "replay", "-").open(), text, **call)
        assert says in str(caught.value)


def test_another_model_is_not_answered_from_the_recording(tmp_path):
    path = tmp_path / "calls.jsonl"
    ask(Replay(inner=Numbered(name="small"), path=path).open(), "x")
    with pytest.raises(ReplayMiss, match="the model differs from character 0 on: 'large', recorded 'small'"):
        ask(Replay(inner=Counting(name="large"), path=path, mode="replay").open(), "x")


@pytest.mark.parametrize("torn", [b'{"key": "abc', b"\xff", b'{"key": "k", "nth": 0, "call": {}, "replies": []}'])
def test_a_torn_last_line_is_cut_and_asked_again(tmp_path, torn):
    path = tmp_path / "calls.jsonl"
    ask(replay(path, "record", "a", "b").open(), "x", "y")
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert ask(replay(path, "replay", "-").open(), "x", "y") == ["a", "b"]
    assert path.read_bytes() == whole + torn  # reading changes nothing
    assert ask(replay(path, "auto", "c").open(), "x", "z") == ["a", "c"]
    assert path.read_bytes().startswith(whole)
    assert len(path.read_bytes().splitlines()) == 3
    assert ask(replay(path, "replay", "-").open(), "z", "y", "x") == ["c", "b", "a"]


def test_every_cut_of_a_recording_replays_its_whole_lines(tmp_path):
    path = tmp_path / "calls.jsonl"
    ask(replay(path, "record", "a", "b").open(), "x", "y")
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for length in range(0, len(data), 37):
        path.write_bytes(data[:length])
        model = replay(path, "auto", "new").open()
        assert len(model.recording) == (1 if length >= first else 0)
        assert ask(model, "x") == (["a"] if length >= first else ["new"])


def test_damage_elsewhere_is_an_error_with_its_place(tmp_path):
    path = tmp_path / "calls.jsonl"
    ask(replay(path, "record", "a").open(), "x")
    path.write_bytes(b"oops\n" + path.read_bytes())
    with pytest.raises(LLMError, match=r"calls\.jsonl: the line at byte 0 is not a recorded call") as caught:
        replay(path, "auto", "-").open()
    assert caught.value.code == "llm.recording-damaged"
    path.write_bytes(b'{"key": 1}\n')
    with pytest.raises(LLMError, match="fields are missing"):
        replay(path, "auto", "-").open()
    path.unlink()
    replay(path, "auto", "-").open()  # the failed openings left no lock behind


def test_a_killed_recorder_loses_nothing_that_was_answered(tmp_path):
    path = tmp_path / "calls.jsonl"
    code = f"""
import asyncio, pathlib
from plait.llm.replay import Replay
from plait.llm.scripted import Scripted

async def main():
    inner = Scripted(rules=[{{"pattern": "(.*)", "answer": r"<\\1>"}}])
    model = Replay(inner=inner, path=pathlib.Path({str(path)!r})).open()
    i = 0
    while True:
        await model.chat([{{"role": "user", "content": str(i)}}])
        print(i, flush=True)
        i += 1

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 20:
                break
        os.kill(process.pid, signal.SIGKILL)
        answered = int(process.stdout.read().split()[-1] or 20) if process.poll() is not None else 20
    inner = Scripted(rules=[{"pattern": "(.*)", "answer": r"<\1>"}])
    texts = [str(i) for i in range(max(answered, 20) + 1)]
    assert ask(Replay(inner=inner, path=path, mode="replay").open(), *texts) == [f"<{t}>" for t in texts]


def test_modes_refuse_the_wrong_file(tmp_path):
    path = tmp_path / "calls.jsonl"
    with pytest.raises(UsageError, match="no recording to replay"):
        replay(path, "replay", "-").open()
    ask(replay(path, "record", "a").open(), "x")
    with pytest.raises(UsageError, match="already holds 1 calls"):
        replay(path, "record", "b").open()
    with pytest.raises(UsageError):
        replay(path, "record", "b").open()  # and the lock of the first refusal is free again


def test_two_writers_of_one_recording_are_refused(tmp_path):
    path = tmp_path / "calls.jsonl"
    first = replay(path, "auto", "a").open()
    with pytest.raises(LLMError, match="another opened model, is writing"):
        replay(path, "auto", "b").open()
    asyncio.run(first.aclose())
    assert ask(replay(path, "auto", "b").open(), "x") == ["b"]


def test_closing_closes_the_inner_model(tmp_path):
    model = Replay(inner=Numbered(), path=tmp_path / "c.jsonl").open()
    ask(model, "x")
    assert model._inner.closed
