from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import httpx2
import openai
import pytest

from plait.errors import LimitReached, UsageError
from plait.llm.base import Reply, Usage
from plait.llm.endpoint import Endpoint
from plait.llm.scripted import Scripted
from plait.llm.server import Service, bind, create_app

ASK = [{"role": "user", "content": "2 + 2 = ?"}]
TOKEN = "s3cret"


@pytest.fixture
def script():
    return Scripted(rules=[{"pattern": "JSON", "answer": '{"age": 7}'}, {"pattern": "", "answer": "four it is"}]).open()


@pytest.fixture
def url(serve_app, script):
    return serve_app(create_app(Service(script, name="script", token=TOKEN)))


def post(url, body, *, token=TOKEN):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    content = body if isinstance(body, bytes) else json.dumps({"model": "script", "messages": ASK} | body)
    return httpx2.post(f"{url}/chat/completions", content=content, headers=headers)


def test_the_endpoint_gets_scripted_answers_through_real_http(serve_app, monkeypatch):
    script = Scripted(answers=["4", "5 words are in here", "END of it"]).open()
    url = serve_app(create_app(Service(script, name="script", token=TOKEN)))
    monkeypatch.setenv("TEST_KEY", TOKEN)

    async def main():
        model = Endpoint(base_url=url, model="script", api_key_env="TEST_KEY").open()
        first = await model.chat(ASK, seed=7, temperature=0.5, max_tokens=9)
        rest = await model.chat(ASK, n=2, max_tokens=3, stop=["of"])
        await model.aclose()
        return first, rest, model

    first, rest, model = asyncio.run(main())
    assert [r.text for r in first] == ["4"]
    assert (first[0].usage.prompt_tokens, first[0].usage.completion_tokens) == (5, 1)
    assert [(r.text, r.finish) for r in rest] == [("5 words are", "length"), ("END ", "stop")]
    assert (script.calls[0].seed, script.calls[0].temperature, script.calls[0].max_tokens) == (7, 0.5, 9)
    assert script.calls[1].stop == ("of",)
    assert model.meter.totals.requests == 2
    assert model.meter.totals.completion_tokens == 1 + 3 + 1


def test_the_openai_sdk_reads_answers_streams_models_and_errors(url):
    client = openai.OpenAI(base_url=url, api_key=TOKEN, max_retries=0)
    with client:
        whole = client.chat.completions.create(model="script", messages=ASK, n=2, max_completion_tokens=50)
        assert [c.message.content for c in whole.choices] == ["four it is"] * 2
        assert whole.usage.model_dump()["total_tokens"] == 5 + 2 * 3
        assert [m.id for m in client.models.list()] == ["script"]
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}}
        parsed = client.chat.completions.create(
            model="script",
            messages=[{"role": "user", "content": [{"type": "text", "text": "as JS"}, {"type": "text", "text": "ON"}]}],
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}},
        )
        assert json.loads(parsed.choices[0].message.content) == {"age": 7}
        chunks = list(
            client.chat.completions.create(
                model="script", messages=ASK, n=2, max_tokens=2, stream=True, stream_options={"include_usage": True}
            )
        )
        texts = ["", ""]
        finishes = {}
        for chunk in chunks[:-1]:
            assert chunk.object == "chat.completion.chunk"
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes[choice.index] = choice.finish_reason
        assert texts == ["four it", "four it"]
        assert finishes == {0: "length", 1: "length"}
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == 4
        with pytest.raises(openai.NotFoundError, match='this server has "script"'):
            client.chat.completions.create(model="gpt-4o", messages=ASK)
        with pytest.raises(openai.BadRequestError, match="temperature: Input should be less than or equal to 2"):
            client.chat.completions.create(model="script", messages=ASK, temperature=3)


def test_a_stream_is_server_sent_events_that_end_with_done(url):
    response = post(url, {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"


@pytest.mark.parametrize("token", [None, "wrong", ""])
def test_a_wrong_token_is_refused(url, script, token):
    response = post(url, {}, token=token)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert httpx2.get(f"{url}/models").status_code == 401
    assert httpx2.get(url.replace("/v1", "/health")).json() == {"status": "ok", "model": "script"}
    assert script.calls == []


def test_without_a_token_everyone_is_served(serve_app, script):
    url = serve_app(create_app(Service(script, name="script", token=None)))
    assert post(url, {}, token=None).status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        (b"{", None, "not JSON"),
        (b"[1]", None, "JSON object"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role", "'system'"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"stop": [""]}, "stop.0", "at least 1 character"),
        ({"max_tokens": "many"}, "max_tokens", "valid integer"),
        ({"temprature": 1}, "temprature", "is not supported here"),
        ({"top_p": 0.5}, "top_p", "except as 1"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"response_format": {"type": "xml"}}, "response_format", "json_schema"),
        ({"logprobs": True}, "logprobs", "gives no logprobs"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}},
            None,
            "not a JSON Schema",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content.0.type",
            "'text'",
        ),
    ],
)
def test_bad_requests_get_openai_shaped_errors(url, body, param, says):
    response = post(url, body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert says in error["message"]
    if param is not None:
        assert error["param"] == param


def test_defaults_and_bookkeeping_fields_are_accepted(url, script):
    body = {"top_p": 1.0, "user": "me", "tools": None, "presence_penalty": 0, "stop": "it", "seed": 3, "store": False}
    response = post(url, body)
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "four "
    call = script.calls[0]
    assert (call.temperature, call.max_tokens, call.stop, call.seed) == (1.0, 512, ("it",), 3)


def test_unknown_paths_and_large_bodies(url):
    assert httpx2.get(f"{url}/chat/completions").status_code == 405
    assert "POST /v1/chat/completions" in httpx2.get(f"{url}/nothing").json()["error"]["message"]
    assert post(url, b" " * (17 << 20)).status_code == 413


class Failing:
    def __init__(self, error):
        self.error = error
        self.asked = 0

    async def chat(self, messages, **_):
        self.asked += 1
        raise self.error

    async def aclose(self):
        pass


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (LimitReached("spent", code="llm.limit-reached"), 429, "insufficient_quota"),
        (UsageError("too long", code="llm.too-long"), 400, "llm.too-long"),
    ],
)
def test_a_models_errors_keep_their_meaning_and_are_not_retried_in_vain(serve_app, error, status, code):
    model = Failing(error)
    url = serve_app(create_app(Service(model, name="script", token=None)))
    response = post(url, {}, token=None)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code

    async def main():
        endpoint = Endpoint(base_url=url, model="script").open()
        with pytest.raises(Exception, match=error.message):
            await endpoint.chat(ASK)
        await endpoint.aclose()

    asyncio.run(main())
    assert model.asked == 2


class Waiting:
    def __init__(self):
        self.cancelled = False
        self.closed = False

    async def chat(self, messages, **_):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def aclose(self):
        self.closed = True


def test_a_caller_who_hangs_up_cancels_its_call(serve_app):
    model = Waiting()
    url = serve_app(create_app(Service(model, name="script", token=None)))
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{url}/chat/completions", json={"model": "script", "messages": ASK}, timeout=0.2)

    async def soon():
        while not model.cancelled:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(soon(), 5))


class Sure:
    async def chat(self, messages, *, n=1, **_):
        return [Reply("yes", Usage(3, 2), logprobs=(-0.25, -0.5))] * n

    async def aclose(self):
        pass


def test_logprobs_travel_through_server_and_endpoint(serve_app):
    url = serve_app(create_app(Service(Sure(), name="sure", token=None)))

    async def main():
        model = Endpoint(base_url=url, model="sure", logprobs=True).open()
        replies = await model.chat(ASK)
        await model.aclose()
        return replies

    assert asyncio.run(main())[0].logprobs == (-0.25, -0.5)


def test_a_taken_port_is_said():
    listener = bind("127.0.0.1", 0)
    with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1:"):
        bind("127.0.0.1", listener.getsockname()[1])
    listener.close()


SCRIPT = json.dumps({"use": "scripted", "rules": [{"pattern": "", "answer": "hello"}]})


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(interrupt):
    command = [sys.executable, "-m", "plait.cli.llm", "serve", "--chat", SCRIPT, "--port", "0", "--json"]
    environment = os.environ | {"PLAIT_LLM_TOKEN": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["url"].startswith("http://127.0.0.1:")
        assert len(told["token"]) >= 24
        with openai.OpenAI(base_url=told["url"], api_key=told["token"]) as client:
            stream = client.chat.completions.create(model=told["model"], messages=ASK, stream=True)
            assert "".join(c.choices[0].delta.content or "" for c in stream) == "hello"
        process.send_signal(interrupt)
        out, errors = process.communicate(timeout=20)
    assert (out, errors) == ("", "")
    assert process.returncode == (0 if interrupt == signal.SIGINT else -signal.SIGTERM)


def test_the_command_takes_its_token_from_the_environment_and_prints_for_people():
    command = [sys.executable, "-m", "plait.cli.llm", "serve", "--chat", SCRIPT, "--port", "0", "--name", "mine"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PLAIT_LLM_TOKEN": "my own"}
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert lines[0] == "serving   mine\n"
    assert lines[1].startswith("address   http://127.0.0.1:")
    assert lines[2] == "token     my own\n"
