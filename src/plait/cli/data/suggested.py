"""The recipe of a run with other settings, as a file that runs as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.data.curation import CurationJob
    from plait.data.plan import OpSetting


def refuse_existing(path: Path | None) -> None:
    """Stop before any work if the recipe to write is there already.

    Raises:
        UsageError: It is.
    """
    if path is not None and path.exists():
        raise UsageError("the file exists already", code="data.exists", where=str(path), hint="name another one")


def with_settings(
    job: CurationJob, settings: Mapping[str, Mapping[str, float | int]], path: Path, *, headline: str = ""
) -> CurationJob:
    """Write a job's recipe with other settings.

    It exports beside the job's export, under the recipe's name, so that both results can be compared.

    Args:
        job: What ran.
        settings: By filter, as `plait.data.study.criteria.criteria` names them: the settings to change.
        path: The recipe to write.
        headline: What the settings promise; stands at the top of the file.

    Returns:
        The job that the file asks for.
    """
    from plait.core.folder import write_text
    from plait.data.plan import read_ops
    from plait.data.study.criteria import criteria

    ops = list(job.ops)
    for criterion in criteria(read_ops(ops)):
        if criterion.name in settings:
            ops[criterion.index] = _changed(ops[criterion.index], settings[criterion.name])
    ending = job.export.name.partition(".")[2]
    changed = replace(job, ops=ops, export=job.export.with_name(f"{path.stem}.{ending}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"# {headline}\n{changed.to_yaml()}" if headline else changed.to_yaml())
    return changed


def recipe_with_settings(
    recipe: Path, settings: Mapping[str, Mapping[str, float | int]], path: Path, *, headline: str
) -> None:
    """Write a recipe file with other settings and everything else as it is, comments aside.

    Args:
        recipe: The file, or the name of a shipped one.
        settings: As for `with_settings`.
        path: The recipe to write.
        headline: Stands at the top of the file.
    """
    from plait.core.folder import write_text
    from plait.core.yaml import dump_yaml, load_yaml
    from plait.data.juicer import read_juicer_recipe
    from plait.data.plan import read_ops
    from plait.data.study.criteria import criteria

    read = read_juicer_recipe(recipe)
    data = load_yaml(read.path).data
    for criterion in criteria(read_ops(read.ops)):
        if criterion.name in settings:
            data["process"][criterion.index] = _changed(data["process"][criterion.index], settings[criterion.name])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"# {headline}\n{dump_yaml(data)}")


def _changed(setting: OpSetting, changes: Mapping[str, float | int]) -> OpSetting:
    name, values = (setting, None) if isinstance(setting, str) else next(iter(setting.items()))
    return {name: {**(values or {}), **changes}}
