"""Any OpenAI-compatible server as a chat model.

    model = Endpoint(
        base_url="https://api.openai.com/v1", model="gpt-4o-mini", api_key_env="OPENAI_API_KEY"
    ).open()

`plait.llm.endpoint_client` does the calls; these are their settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from plait.core.optional import require
from plait.errors import UsageError
from plait.llm.base import ChatComponent
from plait.llm.limits import Limiter, Limits, Prices

if TYPE_CHECKING:
    from plait.llm.endpoint_client import EndpointModel


class Endpoint(ChatComponent):
    """A model behind an OpenAI-compatible HTTP API (OpenAI, vLLM, SGLang, llama.cpp, Ollama, `plait llm serve`, …).

    Example:
        >>> Endpoint(base_url="http://127.0.0.1:8000/v1", model="smollm2-135m").attempts
        5
    """

    base_url: str
    """Address of the API, up to and including ``/v1``."""

    model: str
    """The model's name on that server."""

    api_key_env: str | None = None
    """Environment variable that holds the key; no key is sent without it, and none is ever taken from elsewhere."""

    limits: Limits = Field(default_factory=Limits)  # not one shared default: each endpoint has its own limiter
    """Rates and budgets; models given the same object share them."""

    prices: Prices = Prices()
    """What the model costs."""

    attempts: int = Field(default=5, ge=1)
    """How often one request is sent before the call fails."""

    timeout_s: float = Field(default=120.0, gt=0)
    """Longest time one request may take, in seconds, from connecting to the last byte."""

    first_wait_s: float = Field(default=0.5, ge=0)
    """Longest back-off before the second attempt, in seconds; drawn evenly from zero up, doubled every attempt."""

    max_wait_s: float = Field(default=60.0, ge=0)
    """Longest back-off, in seconds; a server whose Retry-After asks for more fails the call at once."""

    logprobs: bool = False
    """Ask for the log-probability of every token."""

    separate_replies: bool = False
    """Send ``n`` requests of one reply, with a seed each, to servers that ignore ``n``."""

    strict_schema: bool = True
    """Send schemas as ``strict``; OpenAI then refuses those outside its subset instead of treating them as advice."""

    length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field that carries the longest completion; OpenAI's newest models know only ``max_completion_tokens``."""

    extra_body: Mapping[str, Any] = {}
    """More fields of the request, as the server names them (``top_p``, ``chat_template_kwargs``, …)."""

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is no address like https://host/v1")
        if parts.username or parts.password:
            raise ValueError("an address must not hold a password; name its variable in api_key_env")
        return value.rstrip("/")

    def identity(self) -> str:
        """The model and what shapes its answers; not its address, which changes with ports and proxies."""
        shaping = {
            "model": self.model,
            "extra_body": dict(self.extra_body),
            "logprobs": self.logprobs,
            "separate_replies": self.separate_replies,
        }
        return f"endpoint{json.dumps(shaping, sort_keys=True)}"

    def open(self, *, limiter: Limiter | None = None) -> EndpointModel:
        """Read the key and make the client; nothing is sent yet.

        Args:
            limiter: Shares another's account and clock; by default the one of ``limits``.

        Raises:
            UsageError: The key's variable is not set, or a money budget has no prices.
            MissingExtra: openai or tenacity is not installed.
        """
        for package in ("openai", "tenacity"):
            require(package, extra="llm", feature="a model behind an endpoint")
        from plait.llm.endpoint_client import EndpointModel

        if self.limits.max_money is not None and self.prices == Prices():
            raise UsageError(
                f"limits.max_money = {self.limits.max_money:g} cannot hold for {self.model} without prices",
                code="llm.no-prices",
                hint="set prices.prompt_per_million and prices.completion_per_million",
            )
        key = ""
        if self.api_key_env is not None:
            key = os.environ.get(self.api_key_env, "")
            if not key:
                raise UsageError(
                    f"{self.api_key_env} is not set; it should hold the key of {self.base_url}",
                    code="llm.no-key",
                    hint=f"export {self.api_key_env}=…, or leave out api_key_env for a server without keys",
                )
        return EndpointModel(self, key=key, limiter=limiter or self.limits.limiter)
