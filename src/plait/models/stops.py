"""Strings that end a completion, found while it grows, also where one spans several tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.models.language_model import LanguageModel


class StopStrings:
    """Looks for stop strings in the text of a growing list of tokens.

    Args:
        lm: Whose tokens they are.
        stop: The strings; a special token's text counts too.
    """

    def __init__(self, lm: LanguageModel, stop: Sequence[str]) -> None:
        self._tokenizer = lm.tokenizer
        self._stop = tuple(stop)
        # Every token but an incomplete character's adds text, and a character has at most four of those.
        self._window = 4 * max((len(s.encode()) for s in stop), default=0) + 4

    def cut(self, ids: Sequence[int]) -> str | None:
        """The text before the earliest stop string, or ``None`` if there is none yet."""
        if not self._stop or not self._find(self._text(ids[-self._window :])):
            return None
        text = self._text(ids)
        found = self._find(text)
        return _without(text[: min(found)], self._tokenizer.all_special_tokens) if found else None

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _find(self, text: str) -> list[int]:
        return [at for s in self._stop if (at := text.find(s)) >= 0]


def _without(text: str, specials: Sequence[str]) -> str:
    for special in specials:
        text = text.replace(special, "")
    return text
