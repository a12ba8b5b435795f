from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import socket
import time

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from plait.errors import LimitReached, LLMError, UsageError
from plait.llm.endpoint import Endpoint
from plait.llm.limits import Limiter, Limits, Prices

ASK = [{"role": "user", "content": "2 + 2 = ?"}]


def good(text="4", *, n=1, usage=True, logprobs=None, finish="stop"):
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text},
            "finish_reason": finish,
            "logprobs": None if logprobs is None else {"content": [{"token": "", "logprob": x} for x in logprobs]},
        }
        for i in range(n)
    ]
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
    if usage:
        body["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    return body


def answer(**settings):
    return lambda: JSONResponse(good(**settings))


def status(code, *, headers=None, body=None):
    return lambda: JSONResponse(body or {"error": {"message": f"said {code}"}}, status_code=code, headers=headers)


def broken():
    return Response('{"choices": [{"mess', media_type="application/json")


def html():
    return Response("<html>gateway</html>", media_type="text/html")


class Hang(Response):
    """Sends headers, then nothing."""

    async def __call__(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        while (await receive())["type"] != "http.disconnect":
            pass


class CutOff(Response):
    """Promises a hundred bytes and closes the connection after five."""

    async def __call__(self, scope, receive, send):
        headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"cho', "more_body": False})


class Faulty:
    """A server that gives the scripted answers in turn, then the last one for ever; it keeps what it was sent."""

    def __init__(self, *steps, latency_s=0.0):
        self.steps = list(steps)
        self.requests = []
        self.running = self.most = 0
        self.latency_s = latency_s
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
            ]
        )

    async def chat(self, request):
        body = await request.json()
        self.requests.append((dict(request.headers), body))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.latency_s)
        self.running -= 1
        return self.steps[min(len(self.requests), len(self.steps)) - 1]()

    async def models(self, request):
        return JSONResponse({"object": "list", "data": [{"id": "smollm2-135m", "object": "model"}]})


class SkippingClock:
    """Sleeps take no time, but are on the clock."""

    def __init__(self):
        self.time = 0.0
        self.slept = []

    def now(self):
        return self.time

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


def ask(url, *, clock=None, call=None, **settings):
    """One call of a new endpoint, whose waits take no time; gives replies or the error, and the endpoint."""
    endpoint = Endpoint(base_url=url, model="m", **settings)
    if "limits" in settings:
        model = endpoint.open()
    else:
        model = endpoint.open(limiter=Limiter(Limits(), clock=clock or SkippingClock()))

    async def main():
        try:
            return await model.chat(ASK, **(call or {}))
        except LLMError as error:
            return error
        finally:
            await model.aclose()

    return asyncio.run(main()), model


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ([status(500), answer()], 2),
        ([status(503), status(429), status(408), answer()], 4),
        ([CutOff, answer()], 2),
        ([broken, html, answer()], 3),
        ([lambda: JSONResponse({"choices": []}), answer()], 2),
        ([lambda: JSONResponse({"error": "busy"}), answer()], 2),
    ],
)
def test_passing_faults_are_sent_again_until_answered(serve_app, steps, sent):
    server = Faulty(*steps)
    replies, model = ask(serve_app(server.app))
    assert [r.text for r in replies] == ["4"]
    assert len(server.requests) == sent
    assert (model.meter.totals.requests, model.meter.totals.retries) == (sent, sent - 1)


@pytest.mark.parametrize(
    ("step", "attempts", "sent", "code", "says"),
    [
        (status(500), 3, 3, "llm.server-error", "(500): said 500 (attempt 3)"),
        (status(429), 2, 2, "llm.rate-limited", "limits.requests_per_minute"),
        (broken, 2, 2, "llm.malformed-answer", "/v1"),
        (html, 1, 1, "llm.malformed-answer", "<html>gateway"),
        (CutOff, 2, 2, "llm.connection", "(attempt 2)"),
        (status(401), 5, 1, "llm.unauthorized", "api_key_env"),
        (status(403), 5, 1, "llm.forbidden", "said 403"),
        (status(404), 5, 1, "llm.unknown-model", "known: smollm2-135m"),
        (status(400, body={"error": {"message": "no such seed"}}), 5, 1, "llm.bad-request", "no such seed"),
        (
            status(429, body={"error": {"message": "pay", "code": "insufficient_quota"}}),
            5,
            1,
            "llm.quota",
            "credit",
        ),
        (status(500, headers={"x-should-retry": "false"}), 5, 1, "llm.server-error", "said 500"),
    ],
)
def test_lasting_faults_end_with_the_right_error_and_number_of_attempts(serve_app, step, attempts, sent, code, says):
    server = Faulty(step)
    error, model = ask(serve_app(server.app), attempts=attempts)
    assert isinstance(error, LLMError)
    assert error.code == code
    assert says in str(error)
    assert len(server.requests) == sent == model.meter.totals.requests
    assert model.limiter.spent.in_flight == 0


def test_a_hanging_server_times_out_and_the_next_attempt_recovers(serve_app):
    server = Faulty(Hang, answer())
    replies, _ = ask(serve_app(server.app), timeout_s=0.2)
    assert [r.text for r in replies] == ["4"]
    error, _ = ask(serve_app(Faulty(Hang).app), timeout_s=0.1, attempts=2)
    assert error.code == "llm.timeout"
    assert "within 0.1 s (attempt 2)" in str(error)


def test_a_refused_connection_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error, model = ask(f"http://127.0.0.1:{port}/v1", attempts=3)
    assert error.code == "llm.unreachable"
    assert "start the server" in str(error)
    assert model.meter.totals.requests == 3
    error, _ = ask(f"http://localhost:{port}/v1", attempts=1)
    assert error.code == "llm.unreachable"


def test_an_unknown_host_is_named_as_such():
    error, _ = ask("http://no-such-host.invalid/v1", attempts=1)
    assert error.code == "llm.connection"
    assert "no-such-host.invalid" in str(error)


@pytest.mark.parametrize("name", ["seconds", "milliseconds", "date"])
def test_retry_after_is_waited_for_and_pauses_the_limiter(serve_app, name):
    headers = {
        "seconds": {"retry-after": "7"},
        "milliseconds": {"retry-after-ms": "7000"},
        "date": {"retry-after": email.utils.formatdate(time.time() + 7, usegmt=True)},
    }[name]
    clock = SkippingClock()
    server = Faulty(status(429, headers=headers), answer())
    replies, _ = ask(serve_app(server.app), clock=clock, first_wait_s=0.25)
    assert [r.text for r in replies] == ["4"]
    assert len(clock.slept) == 1
    assert 5.9 <= clock.slept[0] <= 7.25


def test_a_retry_after_holds_back_the_other_calls_of_the_limiter(serve_app):
    server = Faulty(status(429, headers={"retry-after": "7"}), answer())
    clock = SkippingClock()
    limiter = Limiter(Limits(concurrent=1), clock=clock)
    model = Endpoint(base_url=serve_app(server.app), model="m", first_wait_s=0).open(limiter=limiter)

    async def main():
        async def late():
            while not clock.slept:  # the first call has been told to wait
                await asyncio.sleep(0.001)
            clock.time = 0.0
            await model.chat(ASK)

        await asyncio.gather(model.chat(ASK), late())
        await model.aclose()

    asyncio.run(main())
    assert clock.slept == [7.0, 7.0]


def test_back_off_doubles_with_jitter_up_to_the_longest_wait(serve_app):
    clock = SkippingClock()
    ask(serve_app(Faulty(status(500)).app), clock=clock, attempts=9, first_wait_s=1.0, max_wait_s=10.0)
    assert len(clock.slept) == 8
    for wait, most in zip(clock.slept, [1, 2, 4, 8, 10, 10, 10, 10], strict=True):
        assert 0 <= wait <= most
    assert len(set(clock.slept)) == 8


def test_a_retry_after_beyond_the_longest_wait_fails_at_once(serve_app):
    server = Faulty(status(429, headers={"retry-after": "3600"}))
    error, _ = ask(serve_app(server.app), max_wait_s=60.0)
    assert error.code == "llm.rate-limited"
    assert "wait 3600 s" in str(error)
    assert len(server.requests) == 1


def test_the_request_carries_what_was_asked_and_nothing_else(serve_app, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "another provider's")
    monkeypatch.setenv("OPENAI_ORG_ID", "another org")
    server = Faulty(answer())
    url = serve_app(server.app)
    ask(url)
    headers, body = server.requests[0]
    assert body == {"model": "m", "messages": ASK, "temperature": 0.0, "max_tokens": 256}
    assert "authorization" not in headers
    assert "openai-organization" not in headers
    monkeypatch.setenv("MY_KEY", "mine")
    server.steps = [answer(text='{"a": 1}', n=2)]
    schema = {"type": "object", "required": ["a"]}
    ask(
        url,
        api_key_env="MY_KEY",
        logprobs=True,
        length_field="max_completion_tokens",
        extra_body={"top_p": 0.9},
        call={"n": 2, "stop": ["x"], "seed": 5, "temperature": 0.7, "max_tokens": 9, "schema": schema},
    )
    headers, body = server.requests[1]
    assert headers["authorization"] == "Bearer mine"
    assert body == {
        "model": "m",
        "messages": ASK,
        "temperature": 0.7,
        "max_completion_tokens": 9,
        "n": 2,
        "stop": ["x"],
        "seed": 5,
        "logprobs": True,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": schema, "strict": True},
        },
        "top_p": 0.9,
    }


def test_the_key_is_never_shown(serve_app, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    caplog.set_level(logging.DEBUG)
    error, model = ask(serve_app(Faulty(status(401)).app), api_key_env="MY_KEY")
    assert "check the key in MY_KEY" in str(error)
    assert "sk-very-secret" not in f"{error!r}{error}{model.settings!r}{model.settings.identity()}{caplog.text}"


def test_a_missing_key_and_wrong_addresses_are_refused_before_any_request(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        Endpoint(base_url="http://127.0.0.1:1/v1", model="m", api_key_env="NO_SUCH_KEY").open()
    for url in ("127.0.0.1:8000", "ftp://x/v1", "http://me:secret@host/v1"):
        with pytest.raises(ValidationError):
            Endpoint(base_url=url, model="m")


def test_usage_and_money_by_hand(serve_app):
    prices = Prices(prompt_per_million=2.0, completion_per_million=10.0)
    replies, model = ask(serve_app(Faulty(answer(n=3)).app), prices=prices, call={"n": 3})
    assert [r.usage.prompt_tokens for r in replies] == [1000, 0, 0]
    assert sum(r.usage.completion_tokens for r in replies) == 500
    assert model.meter.totals.money == pytest.approx(1000 * 2e-6 + 500 * 10e-6)
    assert model.limiter.spent.tokens == 1500
    assert model.limiter.spent.money == pytest.approx(0.007)


def test_a_server_without_usage_is_estimated_and_said(serve_app):
    replies, model = ask(serve_app(Faulty(answer(text="a" * 30, usage=False)).app))
    assert replies[0].usage.completion_tokens == 10
    assert replies[0].usage.prompt_tokens == 8 + 3
    assert model.meter.totals.estimated == 1


def test_budgets_end_in_limit_reached_without_another_request(serve_app):
    server = Faulty(answer())
    limits = Limits(max_requests=2)
    url = serve_app(server.app)
    assert ask(url, limits=limits)[0][0].text == "4"
    assert ask(url, limits=limits)[0][0].text == "4"
    error, _ = ask(url, limits=limits)
    assert isinstance(error, LimitReached)
    assert len(server.requests) == 2
    server.steps = [status(500)]
    error, _ = ask(url, limits=Limits(max_requests=3), attempts=9, first_wait_s=0)
    assert isinstance(error, LimitReached)  # retries are requests too
    assert len(server.requests) == 5
    with pytest.raises(UsageError, match="without prices"):
        Endpoint(base_url=url, model="m", limits=Limits(max_money=1.0)).open()


def test_endpoints_without_limits_of_their_own_share_nothing():
    one, two = (Endpoint(base_url="http://127.0.0.1:1/v1", model="m") for _ in range(2))
    assert one == two
    assert one.limits.limiter is not two.limits.limiter


def test_the_server_never_sees_more_at_once_than_allowed(serve_app):
    server = Faulty(answer(), latency_s=0.02)
    limits = Limits(concurrent=4)
    url = serve_app(server.app)
    models = [Endpoint(base_url=url, model=f"m{i}", limits=limits).open() for i in range(2)]

    async def main():
        await asyncio.gather(*(models[i % 2].chat(ASK) for i in range(24)))
        for model in models:
            await model.aclose()

    asyncio.run(main())
    assert len(server.requests) == 24
    assert server.most == 4


def test_one_model_works_in_one_event_loop_after_another(serve_app):
    server = Faulty(answer())
    model = Endpoint(base_url=serve_app(server.app), model="m").open()

    async def once():
        replies = await model.chat(ASK)
        await model.aclose()
        return replies[0].text

    assert [asyncio.run(once()) for _ in range(3)] == ["4"] * 3


def test_too_few_replies_name_the_setting_that_helps_and_it_does(serve_app):
    server = Faulty(answer())
    url = serve_app(server.app)
    error, _ = ask(url, call={"n": 3}, attempts=1)
    assert "3 replies were asked for and 1 came; set separate_replies: true" in str(error)
    replies, _ = ask(url, call={"n": 3, "seed": 11}, separate_replies=True)
    assert len(replies) == 3
    seeds = [body["seed"] for _, body in server.requests[1:]]
    assert 11 in seeds
    assert len(set(seeds)) == 3
    assert all("n" not in body for _, body in server.requests[1:])


def test_replies_must_satisfy_the_schema_unless_they_were_cut(serve_app):
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    url = serve_app(Faulty(answer(text='{"age": "seven"}'), answer(text="seven")).app)
    for says in ("breaks it at age: 'seven' is not of type 'integer'", "is not JSON"):
        error, _ = ask(url, call={"schema": schema})
        assert error.code == "llm.schema-not-met"
        assert says in str(error)
    url = serve_app(Faulty(answer(text='{"age": 7}'), answer(text='{"ag', finish="length")).app)
    assert json.loads(ask(url, call={"schema": schema})[0][0].text) == {"age": 7}
    assert ask(url, call={"schema": schema})[0][0].finish == "length"
    with pytest.raises(UsageError, match="not a JSON Schema: at type"):
        ask(url, call={"schema": {"type": "nonsense"}})


def test_logprobs_and_odd_finish_reasons_are_read(serve_app):
    url = serve_app(Faulty(answer(logprobs=[-0.5, -1.25], finish="eos")).app)
    replies, _ = ask(url, logprobs=True)
    assert replies[0].logprobs == (-0.5, -1.25)
    assert replies[0].finish == "stop"


def test_a_refusal_has_no_text_and_is_an_error(serve_app):
    body = good()
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I must not"}
    error, _ = ask(serve_app(Faulty(lambda: JSONResponse(body)).app), attempts=1)
    assert "a reply has no text (I must not)" in str(error)


def test_cancelling_a_call_frees_its_slot(serve_app):
    server = Faulty(Hang)
    model = Endpoint(base_url=serve_app(server.app), model="m", limits=Limits(concurrent=1)).open()

    async def main():
        call = asyncio.ensure_future(model.chat(ASK))
        while not server.requests:
            await asyncio.sleep(0.005)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert model.limiter.spent.in_flight == 0
        server.steps = [answer()]
        replies = await model.chat(ASK)
        await model.aclose()
        return replies

    assert asyncio.run(main())[0].text == "4"


def test_a_plain_text_404_still_says_what_to_check(serve_app):
    app = Starlette(routes=[Route("/", lambda r: PlainTextResponse("hello"))])
    error, _ = ask(serve_app(app))
    assert error.code == "llm.unknown-model"
    assert "base_url ends in /v1" in str(error)
