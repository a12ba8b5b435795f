"""JSON Schemas of replies: is the schema one, and does a reply satisfy it?"""

from __future__ import annotations

import json

from plait.core.optional import require
from plait.errors import LLMError, UsageError
from plait.llm.base import JSONSchema, Reply


def check_schema(schema: JSONSchema | None) -> None:
    """Refuse what is not a JSON Schema before a call is spent on it.

    Raises:
        UsageError: It is not a valid schema; the message says where.

    Example:
        >>> check_schema({"type": "object", "properties": {"age": {"type": "integer"}}})
    """
    if schema is None:
        return
    jsonschema = require("jsonschema", extra="llm", feature="a JSON Schema for replies")
    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise UsageError(
            f"the reply schema is not a JSON Schema: at {place}, {error.message}", code="llm.bad-schema"
        ) from error


def check_reply(reply: Reply, schema: JSONSchema | None, *, who: str) -> None:
    """Make sure a finished reply satisfies its schema; one cut by ``max_tokens`` says so itself and is let through.

    Args:
        reply: What the model said.
        schema: What it was asked to satisfy; ``None`` for free text.
        who: The model, for the error.

    Raises:
        LLMError: The text is no JSON, or not what the schema asks for.

    Example:
        >>> check_reply(Reply('{"age": 7}'), {"required": ["age"]}, who="m")
    """
    if schema is None or reply.finish == "length":
        return
    jsonschema = require("jsonschema", extra="llm", feature="a JSON Schema for replies")
    try:
        jsonschema.validate(json.loads(reply.text), schema)
        return
    except ValueError as error:
        problem = f"is not JSON ({error})"
    except jsonschema.ValidationError as error:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        problem = f"breaks it at {place}: {error.message}"
    raise LLMError(
        f"{who} was asked for JSON of a schema, but its reply {problem}: {_short(reply.text)}",
        code="llm.schema-not-met",
        hint="use a server that honours response_format json_schema, or a simpler schema",
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "…")
