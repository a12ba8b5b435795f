"""Where sentences end: NLTK's Punkt, or rules that need no data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.core.optional import require
from plait.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMES = {"en": "english", "fr": "french", "pt": "portuguese", "es": "spanish"}

# Marks, what closes behind them, and a blank. Each part is one class and gives nothing back, and none starts inside a
# run of marks, so a run that no blank follows is looked at once.
_END = re.compile(r"""(?<![.!?…])[.!?…]++["'”’»)\]]*+(?=\s)|[。！？]+[”’」』）]*""")
_LAST_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|\.)*$")

_ABBREVIATIONS = {
    "en": "mr mrs ms dr prof rev gen sen rep gov capt lt col sgt st jr sr inc ltd co corp vs etc e.g i.e cf al fig "
    "figs no nos vol pp p ed eds eq eqs sec ch approx dept est u.s u.k u.n a.m p.m jan feb mar apr jun jul aug sep "
    "sept oct nov dec ave blvd rd mt",
    "fr": "m mm mme mmes mlle mlles dr pr me st ste av bd art chap ch cf etc ex p pp vol no fig env éd janv févr "
    "avr juil sept oct nov déc j.-c",
    "pt": "sr sra srs sras dr dra drs prof profa eng av r pág págs p pp vol no cap art fig etc ex cf ed jan fev mar "
    "abr mai jun jul ago set out nov dez a.c d.c",
    "es": "sr sra srs sres sras srta dr dra drs prof profa ing lic av avda c pág págs p pp vol núm no cap art fig "
    "etc ej cf ed ene feb mar abr may jun jul ago sept oct nov dic ud uds vd vds ee.uu a.c d.c",
}
_ALWAYS_BEFORE_NAME = {
    "mr", "mrs", "ms", "dr", "prof", "rev", "gen", "sen", "rep", "gov", "capt", "lt", "col", "sgt", "st", "fig",
    "figs", "no", "nos", "vol", "p", "pp", "eq", "eqs", "sec", "ch", "cf", "vs", "e.g", "i.e", "m", "mm", "mme",
    "mmes", "mlle", "mlles", "pr", "me", "ste", "sr", "sra", "srs", "sres", "sras", "srta", "dra", "drs", "profa",
    "eng", "ing", "lic", "av", "avda", "núm", "cap", "art", "pág", "págs", "mt",
}  # fmt: skip


def rules(text: str, lang: str) -> list[str]:
    """The sentences of a text, by its marks.

    A full stop ends none after a single letter (``J. Bach``), after a title or the like (``Dr. Who``), and none
    before a small letter.

    Example:
        >>> rules("J. S. Bach died. He was 65 (e.g. old). 他走了。她来了。", "en")
        ['J. S. Bach died.', 'He was 65 (e.g. old).', '他走了。', '她来了。']
    """
    known = frozenset(_ABBREVIATIONS[lang].split())
    found = list[str]()
    start = 0
    for match in _END.finditer(text):
        if match[0][0] in ".!?…" and not _ends(text, match.start(), match.end(), known, start):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def _ends(text: str, mark: int, after: int, known: frozenset[str], start: int) -> bool:
    following = text[after : after + 16].lstrip()
    # A quotation or a bracket may open before the first letter.
    first = following.lstrip("\"'“‘«([¿¡—-")[:1]
    if first.islower():
        return False
    if text[mark] != "." or text[mark : mark + 2] == "..":
        return True
    # A word of more than 24 letters is no abbreviation, so no more is looked at.
    before = _LAST_WORD.search(text, max(start, mark - 24), mark)
    if before is None:
        return True
    word = before[0].lower()
    if len(word) == 1 and before[0].isupper():
        return False
    return not (word in known and (word in _ALWAYS_BEFORE_NAME or not first.isupper()))


def punkt(lang: str, folder: str | None) -> Callable[[str], list[str]]:
    """The splitter of NLTK's Punkt, from data on this machine.

    Args:
        lang: Two letters.
        folder: Folder with the parameters of the language; ``None`` to look where NLTK does.

    Raises:
        ModelError: There is no such data.
    """
    module: Any = require("nltk.tokenize.punkt", extra="data", feature="sentence_split_mapper with punkt")
    if folder is None:
        data: Any = require("nltk.data", extra="data", feature="sentence_split_mapper with punkt")
        try:
            found = str(data.find(f"tokenizers/punkt_tab/{_NAMES[lang]}/"))
        except LookupError as error:
            raise _missing(f"NLTK finds no punkt_tab/{_NAMES[lang]} on this machine") from error
    elif (Path(folder) / "collocations.tab").is_file():
        found = folder
    else:
        raise _missing(f"{folder} holds no collocations.tab")
    split: Callable[[str], list[str]] = module.PunktSentenceTokenizer(module.load_punkt_params(found)).tokenize
    return split


def _missing(message: str) -> ModelError:
    return ModelError(
        f"the sentence splitter's data is missing: {message}",
        code="model.missing",
        hint="set punkt_path to a folder of punkt_tab, or splitter: rules",
    )
