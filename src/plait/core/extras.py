"""Which packages of an extra are not installed, from what this package declares about itself."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[^\]]*)\])?[^;]*;.*extra == ['\"](?P<extra>[\w-]+)['\"]")


@cache
def missing_packages(extra: str) -> list[str]:
    """Packages that ``plait[extra]`` would bring and that are not there.

    Example:
        >>> missing_packages("no-such-extra")
        []
    """
    missing: list[str] = []
    for line in metadata.requires("plait") or []:
        found = _REQUIREMENT.match(line)
        if found is None or found["extra"] != extra:
            continue
        if found["name"] == "plait":
            missing += [name for inner in (found["extras"] or "").split(",") for name in missing_packages(inner)]
        elif not _installed(found["name"]):
            missing.append(found["name"])
    return sorted(set(missing))


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
