"""Data curation: operations, the plan they compile to, and its execution.

    settings = [{"text_length_filter": {"min_len": 120}}, "document_deduplicator"]
    print(compile_plan(read_ops(settings)).describe())
    curated = execute(settings, batches, folder=scratch, engine=engine, quarantine=quarantine)

Importing this package loads neither polars nor numba; what runs a plan does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.data.execute import Curated, execute
    from plait.data.op import Deduplicator, Filter, Mapper
    from plait.data.plan import Plan, compile_plan, read_ops
    from plait.data.sources import python_documents

__all__ = [
    "Curated",
    "Deduplicator",
    "Filter",
    "Mapper",
    "Plan",
    "compile_plan",
    "execute",
    "python_documents",
    "read_ops",
]

_HOMES = {
    "Curated": "execute",
    "Deduplicator": "op",
    "Filter": "op",
    "Mapper": "op",
    "Plan": "plan",
    "compile_plan": "plan",
    "execute": "execute",
    "python_documents": "sources",
    "read_ops": "plan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
