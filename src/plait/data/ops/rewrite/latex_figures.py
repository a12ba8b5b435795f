"""A mapper that makes a row of each figure of a LaTeX source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import polars as pl

from plait.data.batch import Batch
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.rewrite.figures import Citations, figures_of, paragraphs_of

if TYPE_CHECKING:
    from plait.data.ops.rewrite.figures import Figure


class LatexFigureContextExtractorMapper(Mapper):
    r"""Makes a row of each figure of a LaTeX source: its images, caption, label, and the paragraphs that cite it.

    Sources without figures that include images give no row. Parts of a figure (``subfigure``, ``\subfloat``) are
    rows of their own, cited where the figure is.

    Example:
        - latex_figure_context_extractor_mapper: {context_key: citing_paragraphs}

    Source: Data-Juicer 1.6.1, ``latex_figure_context_extractor_mapper``. Differs: options in brackets beyond
    10000 characters are not taken for such.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    citation_commands: list[str] | None = None
    r"""Commands that cite; ``null`` for ``\ref``, ``\cref``, ``\Cref`` and ``\autoref``."""
    paragraph_separator: str = "\n\n"
    """What stands between two paragraphs."""
    caption_key: str = "caption"
    """Field for the caption."""
    label_key: str = "label"
    """Field for the label."""
    context_key: str = "citing_paragraphs"
    """Field for the paragraphs that cite the figure."""
    parent_caption_key: str = "parent_caption"
    """Field for the caption of the whole figure, empty unless the row is a part of one."""
    parent_label_key: str = "parent_label"
    """Field for the label of the whole figure, empty unless the row is a part of one."""
    image_key: str = "images"
    """Field for the paths of the images."""

    def apply(self, batch: Batch) -> Batch:
        """Parses only sources with an image in a figure."""
        texts = batch.text(self.text_key)
        gate = texts.str.contains("\\includegraphics", literal=True).to_list()
        commands = [r"\ref", r"\cref", r"\Cref", r"\autoref"]
        commands = commands if self.citation_commands is None else self.citation_commands
        rows = list[int]()
        found: list[tuple[Figure, list[str], Figure | None]] = []
        for row, text in enumerate(texts.to_list()):
            figures = figures_of(text) if gate[row] else []
            if not figures:
                continue
            citations = Citations(paragraphs_of(text, self.paragraph_separator), commands)
            for figure in figures:
                citing = citations.of(figure.label)
                of_parts = [
                    (part, list(dict.fromkeys(citing + citations.of(part.label))), figure) for part in figure.parts
                ]
                new = of_parts or [(figure, citing, None)]
                found += new
                rows += [row] * len(new)
        strings = pl.List(pl.String)
        columns = [
            pl.Series(self.caption_key, [figure.caption for figure, _, _ in found], dtype=pl.String),
            pl.Series(self.image_key, [figure.images for figure, _, _ in found], dtype=strings),
            pl.Series(self.label_key, [figure.label for figure, _, _ in found], dtype=pl.String),
            pl.Series(self.context_key, [citing for _, citing, _ in found], dtype=strings),
            pl.Series(
                self.parent_caption_key, [whole.caption if whole else "" for _, _, whole in found], dtype=pl.String
            ),
            pl.Series(self.parent_label_key, [whole.label if whole else "" for _, _, whole in found], dtype=pl.String),
        ]
        return Batch(batch.frame[rows].with_columns(columns))
