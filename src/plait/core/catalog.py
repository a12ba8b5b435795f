"""What can be named: a literal table per kind, any dotted path, and names that installed packages add.

Nothing is imported until a name is chosen. Tables live beside what they list (``plait.flows.catalog`` and so on) and
are found here by dotted path, so that this layer imports nothing above it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import cast

from plait.errors import UsageError, nearest

TABLES: Mapping[str, str] = {
    "stage": "plait.flows.catalog:STAGES",
    "op": "plait.data.catalog:OPS",
    "engine": "plait.engines.catalog:ENGINES",
    "llm": "plait.llm.catalog:CHAT_MODELS",
    "model": "plait.models.catalog:MODELS",
}
"""Kind → the literal table that lists it. An installed package adds names of a kind through the entry-point
group ``plait.<kind>``."""


@dataclass(frozen=True)
class Entry:
    """One line of a table.

    Args:
        path: ``package.module:Name``; imported only when the entry is chosen.
        summary: One sentence for ``plait ls``.
        extra: The optional dependencies it needs, as in ``plait[extra]``; empty for none.
    """

    path: str
    summary: str
    extra: str = ""


@cache
def table(kind: str) -> Mapping[str, Entry]:
    """All names of a kind: ours and those of installed packages.

    Raises:
        UsageError: The kind is unknown, or two packages claim one name.
    """
    if kind not in TABLES:
        raise UsageError(f'no catalog of kind "{kind}"', code="catalog.unknown-kind", hint=nearest(kind, TABLES))
    entries = dict(cast("Mapping[str, Entry]", load(TABLES[kind])))
    for point in entry_points(group=f"plait.{kind}"):
        if point.name in entries:
            raise UsageError(
                f'{kind} "{point.name}" is claimed by {entries[point.name].path} and by {point.value}',
                code="catalog.clash",
                hint="uninstall one of the two packages, or name yours by its dotted path",
            )
        entries[point.name] = Entry(point.value, f"from {point.dist.name if point.dist else 'an installed package'}")
    return entries


def find(kind: str, name: str) -> object:
    """The object behind a catalog name or a dotted path ``package.module:Name``.

    Raises:
        UsageError: Neither a known name nor an importable path.
    """
    entries = table(kind)
    if name in entries:
        return load(entries[name].path)
    if ":" in name:
        return load(name)
    raise UsageError(f'no {kind} is called "{name}"', code=f"{kind}.unknown", hint=nearest(name, entries))


def load(path: str) -> object:
    """Import ``package.module:Name``.

    Raises:
        UsageError: The module or the name in it does not exist.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        raise UsageError(
            f'"{path}" cannot be imported: no module named {error.name!r}',
            code="catalog.not-importable",
            hint="check the spelling, and that the folder is on PYTHONPATH",
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(
            f'module {module_name} has no "{attribute}"',
            code="catalog.not-importable",
            hint=nearest(attribute, [n for n in dir(module) if not n.startswith("_")]),
        ) from error
