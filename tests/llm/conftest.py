from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from plait.llm.server import bind, url_of


@contextmanager
def run_app(app) -> Iterator[str]:
    """An ASGI application in a uvicorn thread on loopback; gives ``http://127.0.0.1:PORT/v1``."""
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def serve_app():
    with_apps = []

    def start(app) -> str:
        context = run_app(app)
        with_apps.append(context)
        return context.__enter__()

    yield start
    for context in reversed(with_apps):
        context.__exit__(None, None, None)
