"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "clean_email_mapper": Entry("plait.data.ops.clean.emails:CleanEmailMapper", "Removes e-mail addresses.", "data"),
    "clean_links_mapper": Entry("plait.data.ops.clean.links:CleanLinksMapper", "Removes links.", "data"),
    "fix_unicode_mapper": Entry(
        "plait.data.ops.clean.unicode:FixUnicodeMapper", "Repairs mojibake, entities, quotes.", "data"
    ),
    "whitespace_normalization_mapper": Entry(
        "plait.data.ops.clean.whitespace:WhitespaceNormalizationMapper",
        "Turns every kind of blank into a space.",
        "data",
    ),
}
