"""From a name, a mapping or a component to an opened chat model; and the type of a setting that holds one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, PlainSerializer, ValidationError, WithJsonSchema

from plait.core.catalog import find, table
from plait.core.component import Component
from plait.errors import UsageError
from plait.llm.base import ChatComponent, ChatModel


def open_chat(spec: str | Mapping[str, Any] | Component) -> ChatModel:
    """Open a chat model.

    Args:
        spec: A catalog name or dotted path (``"local"``, ``"my.module:MyModel"``), a component, or a mapping
            ``{"use": name, setting: value}``.

    Raises:
        UsageError: The name is unknown, a setting is wrong, or the component is no chat model.

    Example:
        >>> type(open_chat({"use": "scripted", "answers": ["yes"]})).__name__
        'ScriptedModel'
    """
    return chat_component(spec).open()


def chat_component(spec: str | Mapping[str, Any] | Component) -> ChatComponent:
    """The component that `open_chat` would open, checked but not opened.

    Raises:
        UsageError: See `open_chat`.
    """
    if isinstance(spec, ChatComponent):
        return spec
    if isinstance(spec, Component):
        raise UsageError(f"{type(spec).__name__} is not a chat model", code="llm.not-a-model")
    settings = {"use": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("use", None)
    if not isinstance(name, str):
        raise UsageError(
            'a chat model is a name, or a mapping with "use": name and settings',
            code="llm.not-a-model",
            hint=f"use: {' | '.join(table('llm'))}",
        )
    kind = find("llm", name)
    if not (isinstance(kind, type) and issubclass(kind, ChatComponent)):
        raise UsageError(
            f'"{name}" is not a chat model',
            code="llm.not-a-model",
            hint="it must be a plait.llm.base.ChatComponent",
        )
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise UsageError(f'chat model "{name}": {problems}', code="llm.bad-settings") from error


def _from_plain(value: object) -> object:
    if not isinstance(value, str | Mapping | Component):
        return value
    try:
        return chat_component(cast("str | Mapping[str, Any] | Component", value))
    except UsageError as error:
        raise ValueError(str(error)) from error


def _to_plain(value: ChatComponent) -> dict[str, Any]:
    kind = type(value)
    path = f"{kind.__module__}:{kind.__qualname__}"
    names = [name for name, entry in table("llm").items() if entry.path == path]
    return {"use": names[0] if names else path} | value.model_dump(mode="json", exclude_unset=True)


ChatSetting = Annotated[
    ChatComponent,
    BeforeValidator(_from_plain),
    PlainSerializer(_to_plain),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"use": {"type": "string"}}, "required": ["use"]},
            ],
            "description": 'a chat model: a catalog name, or {"use": name, setting: value}',
        }
    ),
]
"""The type of a component's field that holds a chat model; in YAML a name, or ``{use: name, setting: value}``."""
