"""The operations of a Data-Juicer recipe, checked against those there are here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from plait.core.catalog import find, table
from plait.core.problems import Problems, shorten
from plait.data.juicer.flags import PLAN_ALONE, RUN_CONTROL
from plait.data.op import RangeFilter
from plait.errors import UsageError, nearest

_MEDIA = (
    *("image", "imgdiff", "video", "audio", "phrase_grounding", "face", "vggt", "camera", "hand", "mesh", "s3_"),
    *("download", "mllm", "sdxl", "export_to_lerobot", "ray_image", "ray_video"),
)
NO_OPERATION = ""
"""Among what is ignored: what has a reason of its own, written out."""
WORD_LISTS = {"stopwords_dir": "stopwords", "flagged_words_dir": "flagged_words"}
"""Settings that name a folder of word lists → what the names of its files hold."""

_FUSED, _FUSED_OPS = "general_fused_op", "fused_op_list"
OpSetting = Mapping[str, Mapping[str, Any]]


def read_operations(process: Any, text_key: str, problems: Problems, ignored: dict[str, list[str]]) -> list[OpSetting]:
    """The list under ``process`` as `plait.data.plan.read_ops` takes it.

    Args:
        process: The list as it stands in the file.
        text_key: The field operations work on that name none.
        problems: Where mistakes are noted, each with its line.
        ignored: Arguments without a meaning here → the operations that have them; added to.
    """
    return _listed(process, ("process",), text_key, problems, ignored)


def _listed(
    process: Any, place: tuple[str | int, ...], text_key: str, problems: Problems, ignored: dict[str, list[str]]
) -> list[OpSetting]:
    if process is None:
        return []
    if not isinstance(process, Sequence) or isinstance(process, str):
        problems.add(
            f"{place[-1]} is not a list",
            code="wrong-type",
            path=place,
            hint="write one operation per list item: - text_length_filter: {min_len: 10}",
        )
        return []
    read = list[OpSetting]()
    for index, item in enumerate(process):
        named = {item: None} if isinstance(item, str) else item
        if not isinstance(named, Mapping) or len(named) != 1:
            problems.add(
                f"operation {index + 1} is not one name with its settings",
                code="wrong-type",
                path=(*place, index),
                hint="write one per list item: - text_length_filter: {min_len: 10}",
            )
            continue
        [(name, values)] = cast("Mapping[str, Any]", named).items()
        at = (*place, index, name)
        if name in PLAN_ALONE:
            ignored.setdefault(NO_OPERATION, []).append(f"{name}: {PLAN_ALONE[name]}")
            continue
        if values is not None and not isinstance(values, Mapping):
            problems.add(
                f"the settings of {name} are {shorten(values)}, not keys and values", code="wrong-type", path=at
            )
            continue
        if name == _FUSED and set(values or ()) <= {_FUSED_OPS, *RUN_CONTROL}:
            # Its operations one after the other: here all between two barriers are one pass.
            read += _listed((values or {}).get(_FUSED_OPS), (*at, _FUSED_OPS), text_key, problems, ignored)
            continue
        settings = _checked(name, dict(cast("Mapping[str, Any]", values or {})), text_key, at, problems, ignored)
        if settings is not None:
            read.append({name: settings})
    return read


def _checked(
    name: str,
    values: dict[str, Any],
    text_key: str,
    at: tuple[str | int, ...],
    problems: Problems,
    ignored: dict[str, list[str]],
) -> dict[str, Any] | None:
    try:
        kind = find("op", name)
    except UsageError:
        _unknown(name, at, problems)
        return None
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        problems.add(f'"{name}" is not an operation', code="unknown-op", path=at)
        return None
    taken = dict[str, Any]()
    for key, value in values.items():
        if key in RUN_CONTROL and key not in kind.model_fields:
            ignored.setdefault(key, []).append(name)
        elif key in WORD_LISTS and value is not None and _downloaded_later(str(value), WORD_LISTS[key]):
            ignored.setdefault(NO_OPERATION, []).append(
                f"{key} of {name}: {value}, where Data-Juicer downloads lists to, holds none; Plait's own is used"
            )
        else:
            taken[key] = _finite(value, key if issubclass(kind, RangeFilter) else "")
    if text_key != "text" and "text_key" in kind.model_fields and taken.get("text_key") is None:
        taken["text_key"] = text_key
    if taken.get("text_key", "") is None:
        del taken["text_key"]
    try:
        kind.model_validate(taken)
    except ValidationError as error:
        _explain(error, name, kind, at, problems)
        return None
    return taken


def _downloaded_later(folder: str, name: str) -> bool:
    """Whether it is the folder that Data-Juicer downloads lists into, and holds none yet."""
    return Path(folder) == Path("assets") and not any(name in path.name for path in Path(folder).glob("*.json"))


def _finite(value: Any, bound: str) -> Any:
    """No bound as the largest number: settings are finite here, and null is no bound in Data-Juicer's ranges."""
    if value is None and bound.startswith(("min_", "max_")):
        return sys.maxsize if bound.startswith("max_") else -sys.maxsize
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return sys.maxsize if value > 0 else -sys.maxsize
    return value


def _unknown(name: str, at: tuple[str | int, ...], problems: Problems) -> None:
    known = table("op")
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    if name.startswith(_MEDIA) and not (close and close[0].startswith(_MEDIA)):
        hint = "images, audio and video are not worked on here; leave it out"
    else:
        hint = nearest(name, known) if close else "`plait ls op` names all there are"
    problems.add(f'no operation is called "{name}"', code="unknown-op", path=at, hint=hint)


def _explain(
    error: ValidationError, name: str, kind: type[BaseModel], at: tuple[str | int, ...], problems: Problems
) -> None:
    for item in error.errors():
        key = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            problems.add(
                f'unknown key "{key}" of {name}',
                code="unknown-key",
                path=(*at, key),
                hint=nearest(key, kind.model_fields),
            )
        elif item["type"] == "missing":
            problems.add(f'{name} needs the key "{key}"', code="missing-key", path=at)
        else:
            message = str(item["msg"]).removeprefix("Value error, ")
            shown = f"{key} of {name} is {shorten(item['input'])}: " if key else f"{name}: "
            problems.add(
                f"{shown}{message[:1].lower()}{message[1:]}",
                code="bad-value",
                path=(*at, key) if key else at,
                hint=f"`plait show {name}` lists what it takes",
            )
