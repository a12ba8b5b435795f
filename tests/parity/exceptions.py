"""Where answers may differ from Data-Juicer's, and why. The one place for it.

A difference that no row shows any more fails the test, so that this table stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

What = Literal["stats", "kept", "output", "error"]


@dataclass(frozen=True)
class Difference:
    """A known difference.

    Args:
        op: Name of the operation.
        what: ``stats`` (a number), ``kept`` (a decision), ``output`` (what a mapper makes), ``error`` (Data-Juicer
            raises where we answer).
        why: The reason, as the documentation tells it.
        where: The rows it explains; all when not given.
        settings: The settings it needs, among others.
    """

    op: str
    what: What
    why: str
    where: Callable[[dict[str, Any]], bool] = lambda row: True
    settings: dict[str, Any] = field(default_factory=dict)

    def explains(self, op: str, what: What, settings: dict[str, Any], row: dict[str, Any]) -> bool:
        """Whether a row may differ so."""
        return (
            self.op == op
            and self.what == what
            and all(settings.get(key) == value for key, value in self.settings.items())
            and self.where(row)
        )


DIFFERENCES: tuple[Difference, ...] = ()
