"""Optional packages: imported where they are used, and named with their install line when absent."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from plait.errors import MissingExtra


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import ``module``, or say which extra brings it.

    Args:
        module: Dotted module name, e.g. ``torch``.
        extra: The name in ``pip install "plait[extra]"``.
        feature: What needs it, in words.

    Raises:
        MissingExtra: The package is not installed.

    Example:
        >>> require("json", extra="data", feature="reading records").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Only the package itself being absent is a missing extra; a broken import inside it is a bug to show.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise _missing(module, extra=extra, feature=feature) from error


def check_installed(module: str, *, extra: str, feature: str) -> None:
    """`require` without importing: quick enough to check a recipe with.

    Raises:
        MissingExtra: The package is not installed.

    Example:
        >>> check_installed("json", extra="data", feature="reading records")
    """
    if importlib.util.find_spec(module.split(".")[0]) is None:
        raise _missing(module, extra=extra, feature=feature)


def _missing(module: str, *, extra: str, feature: str) -> MissingExtra:
    return MissingExtra(
        f"{feature} needs the package {module.split('.')[0]!r}, which is not installed",
        code="extra.missing",
        hint=f'pip install "plait[{extra}]"',
    )
