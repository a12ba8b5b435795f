"""What a Data-Juicer recipe reads: ``dataset_path`` with its weights, or the ``dataset`` settings of 1.6.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from plait.core.problems import Problems
from plait.data.read.sources import Source, parse_paths
from plait.errors import nearest

_REMOTE = {"huggingface": "hf://datasets/", "hf": "hf://datasets/", "s3": "", "hdfs": ""}
_KEYS = frozenset({"type", "source", "path", "weight", "split", "name", "limit"})
_CREDENTIALS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})
_INSTEAD = {
    "data_files": "download these files and name them: {type: local, path: …}",
    "data_dir": "download that folder and name it: {type: local, path: …}",
    "aws_region": "set AWS_DEFAULT_REGION in the environment",
    "endpoint_url": "set AWS_ENDPOINT_URL in the environment",
    "anon": "set it in fsspec's configuration",
    "host": "write it into the path: hdfs://host:port/path",
    "port": "write it into the path: hdfs://host:port/path",
    "user": "write it into the path: hdfs://user@host:port/path",
}
"""Settings without which other data would be read → what to do instead."""


def parse_dataset_path(text: str) -> tuple[Source, ...]:
    """The sources of the ``dataset_path`` setting: ``[weight] path [weight] path …``.

    Raises:
        UsageError: A weight without a path, or a quote that is not closed.
    """
    return parse_paths(text)


def parse_dataset(value: Any, problems: Problems, ignored: list[str]) -> tuple[tuple[Source, ...], int | None]:
    """The sources and the largest number of rows of the ``dataset`` setting.

    Args:
        value: The setting.
        problems: Where mistakes are noted, each with its line.
        ignored: What of it changes nothing, with the reason; added to.
    """
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
    if most is None and any(source.weight != 1 for source in sources if source is not None):
        ignored.append("weight of dataset: as in Data-Juicer, all rows are read where max_sample_num is not given")
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
        elif key in _INSTEAD:
            problems.add(f"{key} is not supported", code="unsupported", path=(*at, key), hint=_INSTEAD[key])
        elif key not in _KEYS:
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
