"""What differs between two runs: settings, environment, results."""

from __future__ import annotations

import json
from typing import Any

from plait.core.folder import RunFolder, read_done

Row = tuple[str, str, Any, Any]
"""``(what, name, value in the first, value in the second)``; ``None`` where a run has no such thing."""


def compare_runs(first: RunFolder, second: RunFolder) -> list[Row]:
    """Every difference that explains, or is, a different result; durations are not compared."""
    rows: list[Row] = []
    for what, read in (("setting", _settings), ("environment", _environment), ("result", _results)):
        left, right = read(first), read(second)
        names = dict.fromkeys([*left, *right])
        rows += [(what, n, left.get(n), right.get(n)) for n in names if left.get(n) != right.get(n)]
    return rows


def _settings(run: RunFolder) -> dict[str, Any]:
    from ruamel.yaml import YAML

    data = YAML(typ="safe", pure=True).load(run.recipe)
    for stage in data.get("stages", []):
        data[f"stage {stage['name']}"] = stage
    data.pop("stages", None)
    return dict(_flatten(data))


def _environment(run: RunFolder) -> dict[str, Any]:
    return dict(_flatten(json.loads((run.path / "env.json").read_bytes())))


def _results(run: RunFolder) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for stage in sorted((run.path / "stages").glob("??-*")):
        done = read_done(stage)
        if done is None or stage.name.endswith((".partial", ".old")):
            continue
        name = stage.name[3:]
        report = run.read_report(stage)
        results |= {f"{name}: {label}": value for label, value in report.facts.items()}
        results |= {f"{name}: {file}": h[:12] for file, h in done.files.items() if file != "report.json"}
    return results


def _flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [row for key, v in value.items() for row in _flatten(v, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, value)]
