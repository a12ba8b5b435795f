"""An opened endpoint: the openai SDK for the wire, tenacity for retries, one limiter for all calls.

One call: wait for the limiter, send, and on a passing failure (429, 5xx, time-out, lost connection, broken
answer) wait and send again. A wait holds no slot of the limiter, and a server's Retry-After pauses every call
that shares it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import httpx2
import openai
import tenacity
from openai import Omit

from plait.core.seeds import Seeds
from plait.llm.base import JSONSchema, Reply, check_call
from plait.llm.endpoint import Endpoint
from plait.llm.endpoint_errors import MalformedAnswer, failure, is_passing, retry_after_s
from plait.llm.endpoint_wire import Answer, estimate_tokens, read_answer, request_body
from plait.llm.limits import Limiter
from plait.llm.schemas import check_reply, check_schema
from plait.llm.usage import UsageMeter
from plait.records import Message


class EndpointModel:
    """An opened endpoint. ``meter.totals`` is what it used so far.

    It works in any number of event loops, at once or one after another; end each with `aclose`.
    """

    def __init__(self, settings: Endpoint, *, key: str, limiter: Limiter) -> None:
        self.settings = settings
        self.limiter = limiter
        self.meter = UsageMeter()
        self._key = key
        # The SDK would send the organisation of another provider from the environment, and refuses to send no key.
        self._headers: dict[str, str | Omit] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
        if not key:
            self._headers["Authorization"] = Omit()
        # A connection belongs to the event loop that opened it.
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        seed: int | None = None,
        schema: JSONSchema | None = None,
    ) -> list[Reply]:
        """See `plait.llm.base.ChatModel.chat`.

        Raises:
            UsageError: An argument is out of range, or the schema is none.
            LimitReached: A budget is spent.
            LLMError: The server refused the call, or kept failing.
        """
        check_call(messages, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)
        check_schema(schema)
        settings = self.settings
        whole = request_body(
            messages,
            model=settings.model,
            n=1 if settings.separate_replies else n,
            temperature=temperature,
            max_tokens=max_tokens,
            length_field=settings.length_field,
            stop=stop,
            seed=seed,
            schema=schema,
            strict_schema=settings.strict_schema,
            logprobs=settings.logprobs,
        ) | dict(settings.extra_body)
        prompt = estimate_tokens(messages)
        if settings.separate_replies:
            bodies = [whole if seed is None else whole | {"seed": _nth_seed(seed, i)} for i in range(n)]
        else:
            bodies = [whole]
        each = n // len(bodies)
        requests = [
            asyncio.ensure_future(self._send(body, n=each, prompt=prompt, max_tokens=max_tokens)) for body in bodies
        ]
        try:
            replies = [reply for answer in await asyncio.gather(*requests) for reply in answer.replies]
        finally:
            for request in requests:
                request.cancel()
        for reply in replies:
            check_reply(reply, schema, who=settings.model)
        self.meter.answered(replies)
        return replies

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later call makes new ones."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    async def _send(self, body: dict[str, Any], *, n: int, prompt: int, max_tokens: int) -> Answer:
        """One request, sent until it is answered or has failed for good."""
        settings = self.settings
        sent = 0
        try:
            async for attempt in self._retrying():
                with attempt:
                    sent = attempt.retry_state.attempt_number
                    return await self._send_once(body, n=n, prompt=prompt, max_tokens=max_tokens)
        except (openai.OpenAIError, MalformedAnswer, TimeoutError) as error:
            raise failure(
                error,
                base_url=settings.base_url,
                model=settings.model,
                api_key_env=settings.api_key_env,
                attempts=sent,
                timeout_s=settings.timeout_s,
                known_models=await self._known_models(error),
            ) from error
        raise AssertionError("tenacity returns or raises")

    async def _send_once(self, body: dict[str, Any], *, n: int, prompt: int, max_tokens: int) -> Answer:
        prices = self.settings.prices
        most = n * max_tokens
        async with self.limiter.admit(tokens=prompt + most, money=prices.of(prompt, most)) as ticket:
            self.meter.count(requests=1)
            async with asyncio.timeout(self.settings.timeout_s):
                response = await self._client().post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    body=body,
                    options={"headers": self._headers},
                )
            answer = read_answer(response.text, n=n, prompt_estimate=prompt, prices=prices)
            ticket.settle(tokens=answer.tokens, money=answer.money)
        if answer.estimated:
            self.meter.count(estimated=1)
        return answer

    def _retrying(self) -> tenacity.AsyncRetrying:
        settings = self.settings
        backoff = tenacity.wait_random_exponential(multiplier=settings.first_wait_s, max=settings.max_wait_s)
        spread = tenacity.wait_random(0, settings.first_wait_s)

        def wait(state: tenacity.RetryCallState) -> float:
            asked = retry_after_s(_error_of(state))
            return backoff(state) if asked is None else asked + spread(state)

        def before_sleep(state: tenacity.RetryCallState) -> None:
            self.meter.count(retries=1)
            asked = retry_after_s(_error_of(state))
            if asked:
                self.limiter.pause(asked)

        return tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(settings.attempts),
            wait=wait,
            retry=tenacity.retry_if_exception(
                lambda e: is_passing(e) and (retry_after_s(e) or 0) <= settings.max_wait_s
            ),
            sleep=self.limiter.clock.sleep,
            before_sleep=before_sleep,
            reraise=True,
        )

    async def _known_models(self, error: BaseException) -> list[str] | None:
        """The server's models after a 404, for the hint; ``None`` where it does not list them."""
        if not isinstance(error, openai.NotFoundError):
            return None
        try:
            return [model.id async for model in self._client().models.list(timeout=10, extra_headers=self._headers)]
        except (openai.OpenAIError, ValueError, AttributeError, TypeError):
            return None  # the 404 is what the person must hear of; a server without a list changes only its hint

    def _client(self) -> openai.AsyncOpenAI:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = openai.AsyncOpenAI(
                api_key=self._key,
                admin_api_key="",
                base_url=self.settings.base_url,
                timeout=self.settings.timeout_s,
                max_retries=0,
                _enforce_credentials=False,
            )
            self._clients[loop] = client
        return client


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _nth_seed(seed: int, i: int) -> int:
    # The first reply keeps the caller's seed, so that one reply is the same with and without separate_replies.
    return seed if i == 0 else Seeds(seed).child("reply", i).integer(31)
