from __future__ import annotations

import asyncio
import json
import threading

import jsonschema
import pytest

from plait.errors import LLMError, UsageError
from plait.llm.endpoint import Endpoint
from plait.llm.local import LocalModel
from plait.llm.server import Service, create_app

pytestmark = pytest.mark.model

SCHEMA = {
    "type": "object",
    "properties": {"guess": {"type": "integer", "minimum": 0, "maximum": 100}},
    "required": ["guess"],
    "additionalProperties": False,
}


def user(text):
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def language_model():
    from plait.models import load

    return load("smollm2-135m")


@pytest.fixture
def opened(language_model):
    from plait.llm.local import LocalChat

    chats = []

    def start(**settings):
        chats.append(LocalChat(LocalModel(**settings), language_model))
        return chats[-1]

    yield start
    for chat in chats:
        asyncio.run(chat.aclose())


def together(chat, calls):
    async def main():
        return await asyncio.gather(*(chat.chat(messages, **call) for messages, call in calls))

    return asyncio.run(main())


def one_by_one(chat, calls):
    async def main():
        return [await chat.chat(messages, **call) for messages, call in calls]

    return asyncio.run(main())


def said(replies):
    return [[(r.text, r.finish, r.usage.completion_tokens) for r in call] for call in replies]


def test_concurrent_calls_run_in_few_batches_and_say_what_they_say_alone(opened):
    names = ["Lyon", "Oslo", "Kyoto", "Lima"]
    calls = [
        (
            user(f"Write one short sentence about {names[i % 4]}, number {i // 8}."),
            {"max_tokens": 10, "temperature": 0.8 * (i % 2), "seed": 100 + i},
        )
        for i in range(32)
    ]
    # Batches round differently (2e-5 in logits), which shows where a draw lies within 2e-6 of the border between two
    # tokens: about one such set of calls in a thousand has one.
    merged, alone = opened(max_batch=16), opened(max_batch=1, remember=0)
    replies, singles = together(merged, calls), one_by_one(alone, calls)
    assert said(replies) == said(singles)
    counts = merged.counts
    assert counts.calls == counts.replies == 32
    assert counts.batches <= 3
    assert counts.saved_tokens > 0.4 * counts.prompt_tokens
    assert alone.counts.batches == 32
    for one, other in zip(replies, singles, strict=True):
        assert one[0].logprobs == pytest.approx(other[0].logprobs, abs=2e-3)


def test_identical_greedy_prompts_are_computed_once(opened):
    chat = opened()
    calls = [(user("Say hello."), {"max_tokens": 6, "n": 1 + i % 2}) for i in range(20)]
    replies = together(chat, calls)
    assert {r.text for call in replies for r in call} == {replies[0][0].text}
    assert (chat.counts.replies, chat.counts.computed, chat.counts.batches) == (30, 1, 1)
    assert chat.counts.prompt_tokens == 30 * chat.counts.prefilled_tokens
    assert [r.usage.prompt_tokens > 0 for r in replies[1]] == [True, False]
    assert chat.meter.totals.calls == 20


def test_seeds_decide_samples_and_more_replies_keep_the_first_ones(opened):
    chat = opened(remember=0)
    ask = {"max_tokens": 8, "temperature": 1.0}
    calls = [(user("Name an animal."), ask | more) for more in ({"seed": 1}, {"seed": 1, "n": 3}, {"seed": 2, "n": 3})]
    one, three, others = said(together(chat, calls))
    assert three[:1] == one
    assert len({*three, *others}) > 3
    free = said(together(chat, [(user("Name an animal."), ask | {"max_tokens": 16})] * 2))
    assert free[0] != free[1]


def test_schema_replies_validate_and_cut_ones_say_so(opened):
    chat = opened()
    calls = [
        (
            user(f"You are player {i}. Guess a number between 0 and 100. Answer as JSON."),
            {"seed": i, "temperature": 1.0},
        )
        for i in range(6)
    ]
    replies = together(chat, [(m, call | {"schema": SCHEMA, "max_tokens": 24}) for m, call in calls])
    for [reply] in replies:
        assert reply.finish == "stop"
        jsonschema.validate(json.loads(reply.text), SCHEMA)
    assert chat.counts.batches == 1
    [[cut]] = together(chat, [(user("Guess."), {"schema": SCHEMA, "max_tokens": 2})])
    assert cut.finish == "length"


def test_stop_strings_end_and_are_left_out(opened):
    chat = opened()
    [[whole], [stopped]] = together(
        chat,
        [
            (user("Count: one, two,"), {"max_tokens": 20}),
            (user("Count: one, two,"), {"max_tokens": 20, "stop": ["Three", "\n"]}),
        ],
    )
    assert "\n" in whole.text
    assert stopped.text == whole.text.split("\n")[0]
    assert stopped.finish == "stop"


def test_a_conversation_longer_than_the_context_fails_alone(opened):
    chat = opened()

    async def main():
        calls = [chat.chat(user("word " * 9000)), chat.chat(user("Hi."), max_tokens=2)]
        return await asyncio.gather(*calls, return_exceptions=True)

    error, [reply] = asyncio.run(main())
    assert isinstance(error, UsageError)
    assert error.code == "llm.too-long"
    assert reply.text


def test_closing_ends_the_thread_and_later_calls_say_so(opened):
    before = threading.active_count()
    chat = opened()
    assert threading.active_count() == before + 1
    asyncio.run(chat.aclose())
    assert threading.active_count() == before
    with pytest.raises(LLMError, match="the model is closed"):
        asyncio.run(chat.chat(user("Hi.")))


def test_the_local_model_behind_the_server_answers_the_endpoint(opened, serve_app):
    chat = opened()
    direct = together(chat, [(user("What is the capital of France?"), {"max_tokens": 12})])[0][0]
    url = serve_app(create_app(Service(chat, name="smollm2-135m", token=None)))

    async def main():
        model = Endpoint(base_url=url, model="smollm2-135m", logprobs=True).open()
        [plain] = await model.chat(user("What is the capital of France?"), max_tokens=12)
        [guess] = await model.chat(user("Guess a number."), schema=SCHEMA, max_tokens=24)
        await model.aclose()
        return plain, guess

    plain, guess = asyncio.run(main())
    assert "Paris" in plain.text
    assert plain.text == direct.text
    assert plain.usage == direct.usage
    assert plain.logprobs == pytest.approx(direct.logprobs)
    jsonschema.validate(json.loads(guess.text), SCHEMA)


def test_identity_follows_what_shapes_the_answers(tmp_path):
    (tmp_path / "adapter.safetensors").write_bytes(b"one")
    base = LocalModel()
    assert base.identity() == LocalModel(max_batch=4, window_ms=0, remember=0).identity()
    adapted = LocalModel(adapter=tmp_path).identity()
    (tmp_path / "adapter.safetensors").write_bytes(b"two")
    assert (
        len({base.identity(), adapted, LocalModel(adapter=tmp_path).identity(), LocalModel(top_p=0.9).identity()}) == 4
    )
