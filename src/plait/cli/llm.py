"""`plait llm`: serve a chat model to any program that speaks the OpenAI API."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Chat models.", no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


@app.callback()
def _group() -> None:
    """Chat models."""


@app.command(
    "serve",
    epilog=(
        "Examples: `plait llm serve` the default model on port 8000 · "
        "`plait llm serve --model my-model/ --port 0 --json` · "
        """`plait llm serve --chat '{"use": "scripted", "answers": ["hello"]}'`"""
    ),
)
def serve(
    *,
    model: Annotated[
        str, typer.Option(help="A local model: a known name, a hub id, a folder or a .gguf file.")
    ] = "smollm2-135m",
    chat: Annotated[
        str | None,
        typer.Option(help='Another chat model than a local one: a catalog name, or JSON {"use": name, …}.'),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in the API; its own by default.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        bool, typer.Option("--token/--no-token", help="Ask callers for a bearer token, or serve anyone.")
    ] = True,
    token_env: Annotated[
        str,
        typer.Option(help="Environment variable to take the token from; a new one is made when it is not set."),
    ] = "PLAIT_LLM_TOKEN",
    json: Annotated[bool, typer.Option("--json", help="Print address and token as one JSON line.")] = False,
) -> None:
    """Serve a chat model over the OpenAI API on this machine, until Ctrl-C."""
    import asyncio
    import os
    from contextlib import suppress

    from plait.core.optional import require

    for module in ("starlette", "uvicorn", "jsonschema"):
        require(module, extra="llm", feature="`plait llm serve`")
    from plait.llm.opening import open_chat
    from plait.llm.server import Service, bind, new_token, serve, url_of

    listener = bind(host, port)
    spec = _spec(chat) if chat is not None else {"use": "local", "model": model}
    served = name or (spec["use"] if chat is not None else model)
    secret = (os.environ.get(token_env) or new_token()) if token else None
    service = Service(model=open_chat(spec), name=str(served), token=secret)
    _announce(url=url_of(listener), model=service.name, token=secret, as_json=json)
    # The server has answered what was in flight and closed the model when the interrupt gets here.
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(service, listener))


def _spec(text: str) -> dict[str, object]:
    import json

    from plait.errors import UsageError

    if not text.lstrip().startswith("{"):
        return {"use": text}
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--chat is not JSON: {error}", code="llm.bad-settings") from error


def _announce(*, url: str, model: str, token: str | None, as_json: bool) -> None:
    import json

    if as_json:
        text = json.dumps({"url": url, "model": model, "token": token})
    else:
        key = f"token     {token}" if token else "token     none: anyone who can reach this port may use it"
        text = f"serving   {model}\naddress   {url}\n{key}\nCtrl-C ends it."
    typer.echo(text)
    import sys

    sys.stdout.flush()


if __name__ == "__main__":
    app()
