"""Lines that stand in many documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import NonNegativeInt

from plait.data.dedup.lines import LineRules
from plait.data.op import Decision, Deduplicator, RewritingBarrier

if TYPE_CHECKING:
    import polars as pl

    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Need, Rows


class DocumentLineDeduplicator(RewritingBarrier, Deduplicator):
    """Takes lines that stand in many documents out of all of them.

    Navigation, copyright notices, licences. No row is dropped: `decide` finds the lines and writes their hashes to
    `plait.data.op.Decision.state`, and `rewrite` takes them out of each chunk afterwards. A row takes 8 bytes per
    distinct line on disk; lines are compared by 64-bit hashes.

    Example:
        - document_line_deduplicator: {frequency_threshold: 6}

    Source: Data-Juicer 1.6.1, ``document_line_deduplicator``.
    """

    cost: ClassVar[Cost] = "scan"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stat: ClassVar[str] = ""

    frequency_threshold: int = 6
    """Lines in more documents than this are taken out."""
    lowercase: bool = False
    """Compare in lower case."""
    ignore_special_character: bool = False
    """Compare without blanks, digits and punctuation."""
    min_line_length: NonNegativeInt = 2
    """Shorter lines are left alone; characters, blanks around the line aside."""
    skip_brackets: bool = True
    """Leave lines of brackets and semicolons alone."""
    skip_markdown_headers: bool = True
    """Leave Markdown headers alone."""
    skip_latex_env: bool = True
    """Leave the begin and end of LaTeX environments alone."""
    skip_html_tags: bool = True
    """Leave lines that are one HTML tag alone."""

    def rules(self) -> LineRules:
        """How lines are compared, and which are left alone."""
        return LineRules(
            lowercase=self.lowercase,
            ignore_special=self.ignore_special_character,
            shortest=self.min_line_length,
            brackets=self.skip_brackets,
            headers=self.skip_markdown_headers,
            latex=self.skip_latex_env,
            tags=self.skip_html_tags,
        )

    def keys(self, batch: Batch) -> Columns:
        """The hashes of each text's lines."""
        return {"lines": self.rules().sets(batch.text(self.text_key))}

    def decide(self, rows: Rows) -> Decision:
        """Find the lines; their hashes go to a file."""
        from plait.data.dedup.lines import frequent_lines

        found = frequent_lines(rows, "lines", self.frequency_threshold)
        state = rows.scratch / "lines.npy"
        np.save(state, found, allow_pickle=False)
        nobody = np.zeros(0, np.int64)
        facts = {"frequent_lines": len(found), "threshold": self.frequency_threshold}
        return Decision(nobody, nobody, np.zeros(0), facts, state)

    def rewrite(self, batch: Batch, state: Path) -> pl.Series:
        """The texts without the lines found; ``state`` is what `decide` left."""
        return self.rules().without(batch.text(self.text_key), np.load(state))
