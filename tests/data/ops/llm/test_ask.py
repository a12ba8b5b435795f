"""The base of operations that ask: retries with the reason, what is told of failures, what settings name a model."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from plait.data.ops.llm.ask import (
    NOT_ASKED,
    TEXT,
    AsksEither,
    AsksEndpoint,
    AsksLocal,
    Question,
    endpoint_of,
    fill,
)
from plait.data.ops.llm.line import line_to
from plait.errors import LimitReached, LLMError, ModelError, UsageError
from plait.llm import ChatComponent, Endpoint, LocalModel, Reply, Rule, Scripted, Usage

SCORE = {"score": {"type": "integer"}}


def asks(*rules: tuple[str, str], **settings: Any) -> AsksEndpoint:
    model = Scripted(rules=tuple(Rule(pattern=p, answer=a) for p, a in rules))
    return AsksEndpoint(model=model, **settings)


def test_answers_come_in_the_order_of_the_questions() -> None:
    op = asks(("^a", '{"score": 1}'), ("^b", '{"score": 2}'))
    answers = op.ask([Question("s", "b"), None, Question("s", "a")], SCORE)
    assert [a.values for a in answers] == [{"score": 2}, None, {"score": 1}]
    assert [a.status for a in answers] == ["ok", "not asked", "ok"]


def test_an_unusable_answer_is_asked_for_again_with_the_reason() -> None:
    op = asks(("earlier answer could not be used.*not JSON", '{"score": 5}'), ("", "five"))
    [answer] = op.ask([Question("s", "rate it")], SCORE)
    assert answer.values == {"score": 5}


def test_after_the_last_try_the_row_goes_without_and_says_why() -> None:
    op = asks(("^good", '{"score": 5}'), ("", '{"score": "five"}'), try_num=2)
    good, bad = op.ask([Question("s", "good"), Question("s", "bad")], SCORE)
    assert good.status == "ok"
    assert bad.values is None
    assert bad.status.startswith("unusable: ")
    assert "'five' is not of type 'integer'" in bad.status


def test_an_answer_that_is_refused_is_asked_for_again() -> None:
    op = asks(("it is too small", '{"score": 9}'), ("", '{"score": 1}'))
    [answer] = op.ask([Question("", "q")], SCORE, check=lambda v: "it is too small" if v["score"] < 5 else None)
    assert answer.values == {"score": 9}


def test_an_empty_text_is_no_answer() -> None:
    [answer] = asks(("", '{"text": "  "}')).ask([Question("", "q")], {"text": TEXT})
    assert (answer.values, answer.status) == (None, "unusable: text is empty")


def test_a_failed_call_is_tried_again_and_told_of() -> None:
    model = Scripted(answers=('{"score": 1}', '{"score": 2}'), fail_calls=(1,))
    answers = AsksEndpoint(model=model).ask([Question("", "q"), Question("", "r")], SCORE)
    assert sorted(a.values["score"] for a in answers if a.values) == [1, 2]


def test_a_row_whose_calls_all_fail_is_told_of_and_the_others_go_on() -> None:
    op = asks(("^good", '{"score": 1}'))
    good, bad = op.ask([Question("", "good"), Question("", "other")], SCORE)
    assert good.values == {"score": 1}
    assert bad.status.startswith("failed: no rule of the script fits 'other'")


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(LLMError, match="no rule of the script fits"):
        asks(("^good", "")).ask([Question("", "other"), Question("", "another")], SCORE)


class Ending(ChatComponent):
    """A model whose third call ends everything while others are on their way."""

    code: str = "llm.limit-reached"

    def open(self) -> EndingModel:
        return EndingModel(self.code)


class EndingModel:
    def __init__(self, code: str) -> None:
        self.code, self.calls, self.done, self.most, self.now = code, 0, 0, 0, 0

    async def chat(self, messages: Any, **options: Any) -> list[Reply]:
        del messages, options
        self.calls, self.now = self.calls + 1, self.now + 1
        self.most = max(self.most, self.now)
        number = self.calls
        await asyncio.sleep(0 if number == 3 else 0.02)
        self.now -= 1
        if number == 3:
            kind = LimitReached if self.code == "llm.limit-reached" else LLMError
            raise kind("no more", code=self.code)
        self.done += 1
        return [Reply('{"score": 1}', Usage(1, 1))]

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("code", ["llm.limit-reached", "llm.unauthorized", "llm.unreachable"])
def test_what_no_question_can_get_past_ends_the_asking_once_calls_on_their_way_are_back(code: str) -> None:
    op = AsksEndpoint(model=Ending(code=code))
    with pytest.raises(LLMError, match="no more"):
        op.ask([Question("", str(i)) for i in range(1000)], SCORE)
    model = line_to(op.chat()).model
    # None is thrown away after it was paid for, none is made after the end but those that had started.
    assert (model.calls, model.done, model.most) == (256, 255, 256)


def test_an_answer_cut_in_the_middle_is_unusable() -> None:
    op = asks(("", '{"text": "a b c d e"}'), sampling_params={"max_tokens": 2})
    [answer] = op.ask([Question("", "q")], {"text": TEXT})
    assert answer.status == "unusable: it was cut at max_tokens"


def test_free_text_is_read_by_a_pattern() -> None:
    op = asks(("", "Q: why?\nA: because\nof that"))
    [answer] = op.ask([Question("", "q")], {"query": TEXT, "response": TEXT}, pattern=r"Q:\s*(.*?)\s*A:\s*(.*)")
    assert answer.values == {"query": "why?", "response": "because\nof that"}
    [answer] = op.ask([Question("", "q")], {"query": TEXT}, pattern="X: (.*)")
    assert answer.status == "unusable: it does not match the output pattern"


@pytest.mark.parametrize("pattern", ["(?=a)", "(a"])
def test_a_pattern_that_could_hang_or_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        asks(("", "a")).ask([Question("", "q")], {"x": TEXT}, pattern=pattern)


def test_a_pattern_needs_a_group_per_field() -> None:
    with pytest.raises(UsageError, match="has 1 groups, and 2 are needed: x, y"):
        asks(("", "a")).ask([Question("", "q")], {"x": TEXT, "y": TEXT}, pattern="(a)")


def test_the_model_is_told_the_schema_and_what_to_do() -> None:
    op = asks(("^told", '{"score": 1}'), sampling_params={"temperature": 0.5, "max_tokens": 7, "seed": 3})
    op.ask([Question("Rate it.", "told")], SCORE)
    call = line_to(op.chat()).model.calls[-1]
    assert call.messages[0]["content"].startswith("Rate it.\n\nAnswer with one JSON object of this schema:\n{")
    assert (call.temperature, call.max_tokens, call.seed) == (0.5, 7, 3)
    assert call.schema["required"] == ["score"]


def test_tokens_of_all_tries_are_counted() -> None:
    op = asks(("earlier answer", '{"text": "good one"}'), ("", '{"text": ""}'))
    [answer] = op.ask([Question("", "q")], {"text": TEXT})
    assert answer.completion_tokens == 2 + 3


def test_threads_share_a_model_and_get_their_own_answers() -> None:
    op = asks(*((f"^{i}$", f'{{"score": {i}}}') for i in range(8)))
    got = dict[int, Any]()

    def work(i: int) -> None:
        got[i] = op.ask([Question("", str(i))], SCORE)[0].values

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {i: {"score": i} for i in range(8)}


def test_nothing_is_opened_where_nothing_is_asked() -> None:
    op = AsksLocal(hf_model="no such model")
    assert op.ask([None, None], SCORE) == [NOT_ASKED, NOT_ASKED]


def test_a_model_named_as_in_data_juicer_is_an_endpoint() -> None:
    op = AsksEndpoint(
        api_model="m",
        api_endpoint="http://127.0.0.1:1/v1/chat/completions",
        api_key_env="KEY",
        sampling_params={"top_p": 0.9, "temperature": 1},
        model_params={"timeout": 3},
    )
    chat = op.chat()
    assert isinstance(chat, Endpoint)
    assert (chat.base_url, chat.model, chat.api_key_env) == ("http://127.0.0.1:1/v1", "m", "KEY")
    assert (dict(chat.extra_body), chat.timeout_s) == ({"top_p": 0.9}, 3.0)


def test_a_local_model_named_as_in_data_juicer_is_local() -> None:
    chat = AsksEither(api_or_hf_model="m", model_params={"max_batch": 4}, sampling_params={"top_p": 0.5}).chat()
    assert isinstance(chat, LocalModel)
    assert (chat.model, chat.max_batch, chat.top_p) == ("m", 4, 0.5)
    assert isinstance(AsksEither(is_hf_model=False, api_endpoint="http://127.0.0.1:1/v1").chat(), Endpoint)
    assert AsksLocal(hf_model="m").chat() == LocalModel(model="m")


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (AsksEndpoint(), 'no server is named that answers as "gpt-4o"; set model: local'),
        (AsksEndpoint(api_endpoint="/chat/completions"), "no server is named"),
        (AsksEndpoint(model_params={"api_key": "s"}), "model_params cannot hold api_key; name its variable"),
        (asks(("", ""), sampling_params={"top_k": 3}), "sampling_params cannot hold top_k for a Scripted"),
        (AsksLocal(model_params={"revision": "x"}), 'chat model "local": revision'),
    ],
)
def test_settings_that_name_no_model_are_refused_before_a_call(op: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        op.ask([Question("", "q")], SCORE)


def test_what_is_asked_is_looked_for_before_any_work() -> None:
    AsksLocal(model="local").ready()
    asks(("", "")).ready()
    with pytest.raises(UsageError, match="no server is named"):
        AsksEndpoint().ready()
    with pytest.raises(ModelError, match=r"model: no model is called \"smollm\""):
        AsksLocal(hf_model="smollm").ready()


def test_addresses() -> None:
    assert endpoint_of("m", "/v2/chat/completions", None, {"base_url": "http://h/"}, {}).base_url == "http://h/v2"


def test_a_template_that_cannot_be_filled_says_so() -> None:
    with pytest.raises(UsageError, match=r"cannot be filled: 'txet'.*did you mean \"text\""):
        fill("{txet}", {"text": "a"})
    with pytest.raises(UsageError, match="cannot be filled"):
        fill("{} {}", {}, "one")
