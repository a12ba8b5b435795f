from __future__ import annotations

import asyncio

import openai
import pytest

from plait.errors import LLMError
from plait.llm.endpoint import Endpoint
from plait.llm.scripted import Scripted
from plait.llm.server import Service, create_app

ASK = [{"role": "user", "content": "2 + 2 = ?"}]


def test_the_endpoint_gets_a_scripted_answer_through_real_http(serve_app, monkeypatch):
    script = Scripted(answers=["4", "5 words are in here", "END of it"]).open()
    url = serve_app(create_app(Service(script, name="script", token="s3cret")))
    monkeypatch.setenv("TEST_KEY", "s3cret")

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
    assert script.calls[0].seed == 7
    assert script.calls[0].temperature == 0.5
    assert script.calls[0].max_tokens == 9
    assert script.calls[1].stop == ("of",)
    assert model.meter.totals.requests == 2
    assert model.meter.totals.completion_tokens == 1 + 3 + 1
