"""Any chat model as an OpenAI-compatible HTTP server.

    plait llm serve --model smollm2-135m --port 8000

``POST /v1/chat/completions`` · ``GET /v1/models`` · ``GET /health``. It binds to loopback and asks for a bearer token
unless told otherwise. Concurrent requests are merged into batches by models that batch.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from plait.errors import LimitReached, LLMError, PlaitError, UsageError
from plait.llm.base import ChatModel, Reply
from plait.llm.server_wire import (
    BadRequest,
    ChatRequest,
    completion,
    completion_events,
    error_body,
    read_request,
)

_MAX_BODY_BYTES = 16 << 20


@dataclass(frozen=True)
class Service:
    """What is served.

    Args:
        model: Answers every request.
        name: The model's name in the API.
        token: Bearer token asked for; ``None`` serves anyone who can reach the port.
        default_max_tokens: Longest completion where a request names none, in tokens.
    """

    model: ChatModel
    name: str
    token: str | None
    default_max_tokens: int = 512


def new_token() -> str:
    """A token nobody can guess."""
    return secrets.token_urlsafe(24)


def create_app(service: Service) -> Starlette:
    """The ASGI application; it closes the model when the server stops."""

    async def chat(request: Request) -> Response:
        asked = read_request(await _body(request))
        if asked.model != service.name:
            raise BadRequest(
                f'the model "{asked.model}" does not exist; this server has "{service.name}"',
                param="model",
                status=404,
                code="model_not_found",
            )
        replies = await _unless_gone(request, _answer(service, asked))
        if replies is None:
            return Response(status_code=499)
        if asked.logprobs and any(reply.logprobs is None for reply in replies):
            raise BadRequest("this model gives no logprobs", param="logprobs")
        identifier, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        if asked.stream:
            events = completion_events(asked, replies, identifier=identifier, created=created)
            return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-cache"})
        return JSONResponse(completion(asked, replies, identifier=identifier, created=created))

    async def models(_: Request) -> Response:
        entry = {"id": service.name, "object": "model", "created": 0, "owned_by": "plait"}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "model": service.name})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await service.model.aclose()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", _guarded(chat, service.token), methods=["POST"]),
            Route("/v1/models", _guarded(models, service.token), methods=["GET"]),
            Route("/health", health, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={BadRequest: _bad_request, PlaitError: _failed, 404: _no_route, 405: _no_route},
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        UsageError: The address is not ours or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            code="llm.cannot-bind",
            hint="choose another --port",
        ) from error
    listener.listen(1024)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address of the API behind a listening socket, ``http://host:port/v1``."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


async def serve(service: Service, listener: socket.socket) -> None:
    """Serve until cancelled or interrupted; requests in flight are answered first."""
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=30,
        lifespan="on",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Handler, token: str | None) -> Handler:
    async def check(request: Request) -> Response:
        if token is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
                raise BadRequest("a bearer token is required, and it must be right", status=401, code="invalid_api_key")
        return await handler(request)

    return check


async def _body(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _MAX_BODY_BYTES:
            raise BadRequest(f"the body is larger than {_MAX_BODY_BYTES} bytes", status=413)
        parts.append(part)
    return b"".join(parts)


async def _answer(service: Service, asked: ChatRequest) -> list[Reply]:
    return await service.model.chat(
        asked.conversation,
        n=asked.n,
        temperature=asked.temperature,
        max_tokens=asked.max_completion_tokens or asked.max_tokens or service.default_max_tokens,
        stop=asked.stops,
        seed=asked.seed,
        schema=asked.reply_schema,
    )


async def _unless_gone(request: Request, answer: Awaitable[list[Reply]]) -> Sequence[Reply] | None:
    """The answer, or ``None`` when the caller hung up first; its call is then cancelled, so no work is wasted."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _bad_request(_: Request, error: Any) -> Response:
    kind = "authentication_error" if error.status == 401 else "invalid_request_error"
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
    body = error_body(str(error), kind=kind, param=error.param, code=error.code)
    return JSONResponse(body, status_code=error.status, headers=headers)


async def _failed(_: Request, error: Any) -> Response:
    """A model's own error: the caller's mistakes are 400, spent budgets 429, the rest 500."""
    message = f"{error.message}{f'; {error.hint}' if error.hint else ''}"
    if isinstance(error, UsageError):
        return JSONResponse(error_body(message, kind="invalid_request_error", code=error.code), status_code=400)
    if isinstance(error, LimitReached):
        # Waiting does not bring a spent budget back, so clients must not try again.
        body = error_body(message, kind="insufficient_quota", code="insufficient_quota")
        return JSONResponse(body, status_code=429, headers={"x-should-retry": "false"})
    retry = {"x-should-retry": "false"} if isinstance(error, LLMError) else None
    return JSONResponse(error_body(message, kind="server_error", code=error.code), status_code=500, headers=retry)


async def _no_route(request: Request, error: Any) -> Response:
    message = f"{request.method} {request.url.path} is not served here; POST /v1/chat/completions is"
    return JSONResponse(error_body(message, kind="invalid_request_error"), status_code=error.status_code)
