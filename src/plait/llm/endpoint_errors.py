"""What can go wrong between us and a server: which failures pass by themselves, and what each means for a person."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, cast

import openai

from plait.errors import LLMError, nearest


class MalformedAnswer(Exception):
    """A server said 200 and sent what is no chat completion."""


def is_passing(error: BaseException) -> bool:
    """Whether sending the same request again can help.

    Example:
        >>> is_passing(MalformedAnswer("no choices")), is_passing(KeyError("x"))
        (True, False)
    """
    if isinstance(error, openai.APIStatusError):
        told = error.response.headers.get("x-should-retry")
        if told in ("true", "false"):
            return told == "true"
        if error.code == "insufficient_quota":  # a 429 that no waiting mends
            return False
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    if isinstance(error, openai.APIConnectionError):
        return not isinstance(_root(error), ssl.SSLCertVerificationError)
    return isinstance(error, MalformedAnswer | TimeoutError)


def retry_after_s(error: BaseException | None) -> float | None:
    """Seconds the server asked to wait, from ``Retry-After-Ms`` or ``Retry-After`` (a number or a date)."""
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except ValueError:
            continue
    return None


def failure(
    error: BaseException,
    *,
    base_url: str,
    model: str,
    api_key_env: str | None,
    attempts: int,
    timeout_s: float,
    known_models: Sequence[str] | None = None,
) -> LLMError:
    """The error a person sees: what happened, after how many attempts, and what to do.

    Args:
        error: What the last attempt raised.
        base_url: The server.
        model: The model asked for.
        api_key_env: The variable the key came from.
        attempts: How often the request was sent.
        timeout_s: The time-out of one request.
        known_models: The server's models, if it lists them.
    """
    tried = f" (attempt {attempts})" if attempts > 1 else ""
    if isinstance(error, openai.APIStatusError):
        code, what, hint = _status(error, model=model, api_key_env=api_key_env, known_models=known_models)
        return LLMError(f"{what}: {_server_words(error)}{tried}", code=code, where=base_url, hint=hint)
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return LLMError(
            f"no answer from {model} within {timeout_s:g} s{tried}",
            code="llm.timeout",
            where=base_url,
            hint="raise timeout_s, lower max_tokens, or look at the server's load",
        )
    if isinstance(error, openai.APIConnectionError):
        cause = _root(error)
        if isinstance(cause, ConnectionRefusedError):
            return LLMError(
                f"the connection was refused{tried}",
                code="llm.unreachable",
                where=base_url,
                hint="start the server, or correct base_url",
            )
        return LLMError(
            f"the connection failed: {str(cause) or type(cause).__name__}{tried}",
            code="llm.connection",
            where=base_url,
            hint="check base_url, the network and the server's log",
        )
    return LLMError(
        f"the answer is not a chat completion: {error}{tried}",
        code="llm.malformed-answer",
        where=base_url,
        hint="check that base_url is an OpenAI-compatible API and ends in /v1",
    )


def _status(
    error: openai.APIStatusError, *, model: str, api_key_env: str | None, known_models: Sequence[str] | None
) -> tuple[str, str, str]:
    status = error.status_code
    key = f"the key in {api_key_env}" if api_key_env else "api_key_env (no key was sent)"
    if status == 401:
        return "llm.unauthorized", "the server refused the key (401)", f"check {key}"
    if status == 403:
        return "llm.forbidden", f"the server forbids this use of {model} (403)", f"check what {key} may do"
    if status == 404:
        hint = nearest(model, known_models) if known_models else "check model, and that base_url ends in /v1"
        return "llm.unknown-model", f'the server has no model "{model}" (404)', hint
    if status == 429 and error.code == "insufficient_quota":
        return "llm.quota", "the account's quota is spent (429)", "add credit with the provider"
    if status == 429:
        wait = retry_after_s(error)
        asked = f", and asks to wait {wait:g} s" if wait is not None else ""
        return (
            "llm.rate-limited",
            f"the server says there are too many requests (429{asked})",
            "set limits.requests_per_minute and limits.concurrent below the server's, or raise max_wait_s",
        )
    if status >= 500:
        return "llm.server-error", f"the server failed ({status})", "look at the server's log, or try later"
    return "llm.bad-request", f"the server refused the request ({status})", "check the settings it names"


def _server_words(error: openai.APIStatusError) -> str:
    """What the server said, short and in one line."""
    body: Any = error.body
    if isinstance(body, Mapping):
        body = cast("Mapping[str, Any]", body).get("message", body)
    words = " ".join(str(body or error.response.text or "no explanation").split())
    return words if len(words) <= 300 else words[:300] + "…"


def _root(error: BaseException) -> BaseException:
    """The operating system's own error: HTTP libraries wrap it several times, and suppress it where they do."""
    seen: BaseException | None = error
    while seen is not None:
        error = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else seen
        seen = error.__cause__ or error.__context__
    return error
