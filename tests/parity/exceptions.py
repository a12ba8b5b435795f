"""Where answers may differ from Data-Juicer's, and why. The one place for it.

A difference that no row shows any more fails the test, so that this table stays true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

What = Literal["stats", "kept", "output", "error"]


@dataclass(frozen=True, eq=False)
class Difference:
    """A known difference.

    Args:
        op: Name of the operation.
        what: ``stats`` (a number), ``kept`` (a decision), ``output`` (what a mapper makes), ``error`` (Data-Juicer
            raises where we answer).
        why: The reason, as the documentation tells it.
        where: The rows it explains; all when not given.
        settings: The settings it needs, among others.
    """

    op: str
    what: What
    why: str
    where: Callable[[dict[str, Any]], bool] = lambda row: True
    settings: dict[str, Any] = field(default_factory=dict)

    def explains(self, op: str, what: What, settings: dict[str, Any], row: dict[str, Any]) -> bool:
        """Whether a row may differ so."""
        return (
            self.op == op
            and self.what == what
            and all(settings.get(key) == value for key, value in self.settings.items())
            and self.where(row)
        )


def _zero(field_name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["meta"][field_name] == 0


def _holds(*parts: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: any(part in row["text"] for part in parts)


_EMPTY_KEY = "Data-Juicer stops on a filter without a field; here it keeps every row, as the setting's meaning says"
_COPIED = "Data-Juicer copies the field into its statistics; here the field is where it was"
_ZERO = "Data-Juicer takes the number 0 for no number"
_TEXT = "a field that is no number is not a number here; Data-Juicer copies it into its statistics"
_PERCENT = "Data-Juicer's inline pattern also deletes the character before the per cent sign"
_SHORT = (
    "documents without a single shingle are all near duplicates of each other in Data-Juicer, none are here; and "
    "here candidates are verified before they are dropped, with bands chosen for recall"
)

DIFFERENCES: tuple[Difference, ...] = (
    Difference("specified_field_filter", "stats", _COPIED),
    Difference("specified_field_filter", "error", _EMPTY_KEY),
    Difference("specified_numeric_field_filter", "error", _EMPTY_KEY),
    Difference("specified_numeric_field_filter", "error", _EMPTY_KEY, settings={"compat": "data-juicer"}),
    Difference("specified_numeric_field_filter", "kept", _ZERO, _zero("stars"), {"field_key": "meta.stars"}),
    Difference("specified_numeric_field_filter", "kept", _ZERO, _zero("score"), {"field_key": "meta.score"}),
    Difference("specified_numeric_field_filter", "stats", _TEXT, settings={"field_key": "meta.source"}),
    Difference(
        "specified_numeric_field_filter",
        "stats",
        _TEXT,
        settings={"field_key": "meta.source", "compat": "data-juicer"},
    ),
    Difference(
        "general_field_filter",
        "stats",
        "the number of a condition that is a field alone is 1 or 0, not the field",
        settings={"filter_condition": "meta.stars"},
    ),
    Difference(
        "general_field_filter",
        "kept",
        "Data-Juicer's does not know reversed_range, which all its filters take",
        settings={"reversed_range": True},
    ),
    Difference("chinese_convert_mapper", "output", "Data-Juicer cuts a text at a NUL", _holds("\x00")),
    Difference(
        "extract_tables_from_html_mapper",
        "output",
        "text that stands in a table but in none of its cells moves out of it, as browsers do",
        _holds("<table>"),
        {"retain_html_tags": True},
    ),
    Difference(
        "punctuation_normalization_mapper", "output", "Data-Juicer turns a fullwidth 1 into a quote", _holds("１")
    ),
    Difference("remove_comments_mapper", "output", _PERCENT, _holds("%")),
    Difference(
        "text_chunk_mapper",
        "error",
        "Data-Juicer recurses once per chunk, so that long texts exceed Python's stack",
        lambda row: len(row["text"]) > 100_000,
    ),
    Difference(
        "replace_content_mapper",
        "output",
        "patterns run on Rust's regex, whose Unicode tables are older: digits of Unicode 17 are not yet digits",
        _holds("\U00011de1"),
    ),
    Difference("document_minhash_deduplicator", "kept", _SHORT),
    Difference(
        "document_simhash_deduplicator",
        "kept",
        "documents without a single shingle are all near duplicates of each other in Data-Juicer, none are here; and "
        "words end at any blank here, at the space alone there",
    ),
    Difference(
        "document_minhash_deduplicator",
        "kept",
        "which characters are punctuation follows Python's Unicode tables, older than those of Data-Juicer's regex",
        lambda row: any(ord(character) > 0x11000 for character in row["text"]),
        {"tokenization": "punctuation", "compat": "data-juicer"},
    ),
)
