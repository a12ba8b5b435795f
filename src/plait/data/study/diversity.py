"""Verbs and their objects: how varied what texts ask for and tell is.

Source: Wang et al. 2023, "Self-Instruct", figure 3, which Data-Juicer's diversity analysis follows: the verb closest to
the root of the first sentence and its direct noun object.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plait.data.study.facts import Fact

_ENGLISH = "en_core_web"  # how the names of English models begin
_MISSING = "diversity of verbs and objects is not known: {} is not installed"
_VERBS, _NOUNS = 20, 4
_LONGEST = 2_000  # characters of a text; the first sentence is in them


class VerbObject(Fact):
    """A verb with its object."""

    verb: str
    """Base form of the verb."""
    noun: str
    """Base form of its object."""
    count: int
    """Texts that start so."""


class Diversity(Fact):
    """How varied the verbs and objects of texts are."""

    texts: int
    """Texts looked at."""
    found: int
    """Those whose first sentence has a verb with an object."""
    distinct: int
    """Different pairs of verb and object."""
    entropy_bits: float
    """Shannon entropy of the pairs."""
    most: list[VerbObject]
    """Up to four objects of each of the twenty most frequent verbs."""
    spacy_model: str
    """The model that read them."""


def diversity(texts: Sequence[str], spacy_model: str | None = None) -> tuple[Diversity | None, str]:
    """The diversity of some texts, or why it is not known.

    Args:
        texts: English, unless a model for another language is given.
        spacy_model: Name of an installed model.
    """
    if importlib.util.find_spec("spacy") is None:
        return None, _MISSING.format("spaCy")
    spacy: Any = importlib.import_module("spacy")
    installed = sorted(spacy.util.get_installed_models())
    found = [name for name in installed if (name == spacy_model if spacy_model else name.startswith(_ENGLISH))]
    if not found:
        return None, _MISSING.format(f"spaCy's model {spacy_model or _ENGLISH + '_…'}")
    model = spacy.load(found[0], exclude=["ner"])
    pairs = Counter[tuple[str, str]]()
    for document in model.pipe(text[:_LONGEST] for text in texts):
        pair = _verb_object(next(iter(document.sents)).root) if len(document) else None
        if pair is not None:
            pairs[pair] += 1
    return summarize_pairs(pairs, texts=len(texts), spacy_model=found[0]), ""


def summarize_pairs(pairs: Counter[tuple[str, str]], *, texts: int, spacy_model: str) -> Diversity:
    """The diversity of counted pairs.

    Example:
        >>> found = summarize_pairs(Counter({("write", "poem"): 2, ("give", "list"): 2}), texts=5, spacy_model="en")
        >>> found.found, found.distinct, found.entropy_bits
        (4, 2, 1.0)
    """
    total = sum(pairs.values())
    verbs = Counter[str]()
    for (verb, _), count in pairs.items():
        verbs[verb] += count
    most = list[VerbObject]()
    for verb, _ in sorted(verbs.items(), key=lambda v: (-v[1], v[0]))[:_VERBS]:
        nouns = sorted((-count, noun) for (of, noun), count in pairs.items() if of == verb)[:_NOUNS]
        most += [VerbObject(verb=verb, noun=noun, count=-count) for count, noun in nouns]
    entropy = -sum(n / total * math.log2(n / total) for n in pairs.values()) if total else 0.0
    return Diversity(
        texts=texts, found=total, distinct=len(pairs), entropy_bits=entropy, most=most, spacy_model=spacy_model
    )


def _verb_object(root: Any) -> tuple[str, str] | None:
    """The verb at the root, or at the end of the first branches below it, with its direct object."""
    while root is not None:
        if root.pos_ == "VERB":
            found = [c for c in root.children if c.dep_ == "dobj" and c.pos_ == "NOUN"]
            return (root.lemma_ or root.text, found[0].lemma_ or found[0].text) if found else None
        root = next(iter(root.children), None)
    return None
