"""What a Data-Juicer recipe reads: ``dataset_path`` with its weights, or the ``dataset`` settings of 1.6.1."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from plait.core.problems import Problems
from plait.data.read.sources import Source
from plait.errors import UsageError, nearest

_REMOTE = {"huggingface": "hf://datasets/", "hf": "hf://datasets/", "s3": "", "hdfs": ""}
_KEYS = frozenset({"type", "source", "path", "weight", "split", "name", "data_files", "data_dir", "limit"})
_CREDENTIALS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
_ADDRESS = frozenset({"aws_region", "endpoint_url", "host", "port", "user"})


def parse_dataset_path(text: str) -> tuple[Source, ...]:
    """``[weight] path [weight] path …``; a path that exists as a whole is taken whole, blanks and all.

    Raises:
        UsageError: A weight without a path, or a quote that is not closed.

    Example:
        >>> parse_dataset_path("0.3 a.jsonl 0.7 b.jsonl")
        (Source(path='a.jsonl', weight=0.3), Source(path='b.jsonl', weight=0.7))
        >>> parse_dataset_path("a.jsonl b.jsonl")
        (Source(path='a.jsonl'), Source(path='b.jsonl'))
    """
    if Path(text.strip()).expanduser().exists():
        return (Source(text.strip()),)
    try:
        tokens = shlex.split(text)
    except ValueError as error:
        raise _malformed(text, str(error)) from error
    sources = list[Source]()
    weight: float | None = None
    for token in tokens:
        number = _number(token)
        if number is None:
            sources.append(Source(token, weight=1.0 if weight is None else weight))
            weight = None
        elif weight is not None or number < 0:
            raise _malformed(text, f"{token} is no path and no weight")
        else:
            weight = number
    if weight is not None:
        raise _malformed(text, f"the weight {weight:g} has no path after it")
    return tuple(sources)


def _malformed(text: str, problem: str) -> UsageError:
    return UsageError(
        f"dataset_path {text!r}: {problem}", code="juicer.dataset", hint="write: 0.3 first.jsonl 0.7 second.jsonl"
    )


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None


def parse_dataset(value: Any, problems: Problems) -> tuple[tuple[Source, ...], int | None]:
    """The sources and the largest number of rows of the ``dataset`` setting."""
    at = ("dataset",)
    if isinstance(value, list):
        value = {"configs": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("configs"), list) or not value["configs"]:
        problems.add(
            "dataset needs a list of configs", code="bad-value", path=at, hint="configs: [{type: local, path: a.jsonl}]"
        )
        return (), None
    settings = cast("Mapping[str, Any]", value)
    most = settings.get("max_sample_num")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        problems.add(
            f"max_sample_num is {most!r}, not a positive number", code="bad-value", path=(*at, "max_sample_num")
        )
        most = None
    for key in settings:
        if key not in ("configs", "max_sample_num"):
            problems.add(
                f'unknown key "{key}" in dataset',
                code="unknown-key",
                path=(*at, key),
                hint=nearest(key, ["configs", "max_sample_num"]),
            )
    configs = cast("Sequence[Any]", settings["configs"])
    sources = [_source(config, (*at, "configs", number), problems) for number, config in enumerate(configs)]
    # Without a largest number of rows Data-Juicer reads everything, whatever the weights say.
    found = tuple(s if most is not None else s.with_weight(1.0) for s in sources if s is not None)
    return found, most


def _source(config: Any, at: tuple[str | int, ...], problems: Problems) -> Source | None:
    if not isinstance(config, Mapping) or not isinstance(config.get("path"), str):
        problems.add("a dataset needs a path", code="missing-key", path=at, hint="write {type: local, path: a.jsonl}")
        return None
    settings = cast("Mapping[str, Any]", config)
    for key in settings:
        if key in _CREDENTIALS:
            problems.add(
                f"{key} stands in the recipe",
                code="secret",
                path=(*at, key),
                hint="put credentials in the environment: recipes are copied into every run",
            )
        elif key not in _KEYS | _ADDRESS:
            problems.add(f'unknown key "{key}"', code="unknown-key", path=(*at, key), hint=nearest(key, _KEYS))
    kind = str(settings.get("type", "local"))
    name = str(settings.get("source", "huggingface")) if kind == "remote" else kind
    if kind not in ("local", "remote", "huggingface", "hf") or (kind != "local" and name not in _REMOTE):
        problems.add(
            f"a dataset of type {kind}{f', source {name}' if kind == 'remote' else ''} cannot be read",
            code="bad-value",
            path=(*at, "source" if kind == "remote" else "type"),
            hint="known: local, and remote with source huggingface, s3 or hdfs",
        )
        return None
    weight = settings.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        problems.add(f"weight is {weight!r}, not a number from 0", code="bad-value", path=(*at, "weight"))
        weight = 1.0
    return Source(
        _REMOTE.get(name, "") + str(settings["path"]) if kind != "local" else str(settings["path"]),
        weight=float(weight),
        split=str(settings.get("split") or "train"),
        name=settings.get("name"),
        limit=settings.get("limit"),
    )
