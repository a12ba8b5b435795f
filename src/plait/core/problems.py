"""Everything wrong with one recipe, each problem with its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from plait.core.yaml import KeyPath, Located
from plait.errors import RecipeError

_COMMAND_LINE = "command line"


@dataclass
class Problems:
    """Collects problems while a recipe is checked.

    Args:
        located: The recipe, for line numbers.
        typed: Key paths that were set on the command line: their problems are placed there, not in the file.
    """

    located: Located
    found: list[RecipeError] = field(default_factory=list[RecipeError])
    typed: set[KeyPath] = field(default_factory=set[KeyPath])

    def add(self, message: str, *, code: str, path: KeyPath, hint: str | None = None) -> None:
        """Note a problem at a key path."""
        typed = any(path[: len(prefix)] == prefix for prefix in self.typed)
        where = _COMMAND_LINE if typed else self.located.where(*path)
        self.found.append(RecipeError(message, code=f"recipe.{code}", where=where, hint=hint))

    def add_typed(self, message: str, *, hint: str | None) -> None:
        """Note a problem with an override itself."""
        self.found.append(RecipeError(message, code="recipe.bad-override", where=_COMMAND_LINE, hint=hint))

    def stop(self) -> None:
        """Raise the first problem, carrying all of them; does nothing when there is none."""
        if self.found:
            first = self.found[0]
            first.problems = tuple(self.found)
            raise first
