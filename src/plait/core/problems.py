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
        typed: Key paths whose values came from the command line: their problems are placed there, not in the file.
    """

    located: Located
    typed: set[KeyPath] = field(default_factory=set[KeyPath])
    _found: list[tuple[int, RecipeError]] = field(default_factory=list[tuple[int, RecipeError]])
    _paths: set[KeyPath] = field(default_factory=set[KeyPath])

    def add(self, message: str, *, code: str, path: KeyPath, hint: str | None = None) -> None:
        """Note a problem at a key path."""
        self._paths.add(path)
        if self.is_typed(path):
            self._note(0, _COMMAND_LINE, message, code, hint)
        else:
            self._note(self.located.line(*path), self.located.where(*path), message, code, hint)

    def add_typed(self, message: str, *, hint: str | None) -> None:
        """Note a problem with an override itself."""
        self._note(0, _COMMAND_LINE, message, "bad-override", hint)

    def is_typed(self, path: KeyPath) -> bool:
        """Whether the value at a key path, or what holds it, came from the command line."""
        return any(path[:end] in self.typed for end in range(1, len(path) + 1))

    def touch(self, path: KeyPath) -> bool:
        """Whether a problem was noted at a key path or below it."""
        return any(found[: len(path)] == path for found in self._paths)

    def stop(self) -> None:
        """Raise the first problem in the order of the file, carrying all of them; does nothing when there is none."""
        if self._found:
            errors = tuple(error for _, error in sorted(self._found, key=lambda found: found[0]))
            errors[0].problems = errors
            raise errors[0]

    def _note(self, line: int, where: str, message: str, code: str, hint: str | None) -> None:
        # One line each, whatever text a value holds.
        error = RecipeError(" ".join(message.split()), code=f"recipe.{code}", where=where, hint=hint)
        if all(str(error) != str(known) for _, known in self._found):
            self._found.append((line, error))


def shorten(value: object, *, most: int = 60) -> str:
    """A value as shown in a message.

    Example:
        >>> shorten("x" * 100, most=10)
        "'xxxxxxxx…"
    """
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
