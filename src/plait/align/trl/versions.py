"""Which TRL the adapter is written for and tested against."""

from __future__ import annotations

from importlib.metadata import version

from plait.core.optional import require
from plait.errors import UsageError

SUPPORTED = ("1.16", "1.17")
"""The first version that will do, and the first that will not."""


def require_trl() -> None:
    """Import TRL.

    Raises:
        MissingExtra: It is not installed.
        UsageError: It is another version than the adapter is tested against.
    """
    require("trl", extra="align", feature="the TRL adapter")
    check_version(version("trl"))


def check_version(found: str) -> None:
    """Refuse a TRL outside `SUPPORTED`: the adapter builds on its inside, which changes from version to version.

    Raises:
        UsageError: The version is not supported.

    Example:
        >>> check_version("1.16.2")
        >>> check_version("1.17.0")
        Traceback (most recent call last):
        ...
        plait.errors.UsageError: TRL 1.17.0 is not supported; pip install "trl>=1.16,<1.17" [align.trl-version]
    """
    from packaging.version import Version

    first, beyond = SUPPORTED
    if not Version(first) <= Version(found) < Version(beyond):
        raise UsageError(
            f"TRL {found} is not supported", code="align.trl-version", hint=f'pip install "trl>={first},<{beyond}"'
        )
