"""Base of what a study finds: frozen facts that are plain data."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    """A finding; equal findings are equal, and `to_json` is what a report, a page or a script reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data: dictionaries, lists, strings, numbers and ``None``."""
        return self.model_dump(mode="json")
