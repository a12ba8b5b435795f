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


def _changed(setting: OpSetting, changes: Mapping[str, float | int]) -> OpSetting:
    name, values = (setting, None) if isinstance(setting, str) else next(iter(setting.items()))
    return {name: {**(values or {}), **changes}}
