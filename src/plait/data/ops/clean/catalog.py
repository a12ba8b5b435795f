"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "chinese_convert_mapper": Entry(
        "plait.data.ops.clean.chinese:ChineseConvertMapper",
        "Converts between simplified and traditional Chinese and Japanese characters.",
        "data",
    ),
    "clean_copyright_mapper": Entry(
        "plait.data.ops.clean.comments:CleanCopyrightMapper", "Removes the copyright comment of source code.", "data"
    ),
    "clean_email_mapper": Entry("plait.data.ops.clean.emails:CleanEmailMapper", "Removes e-mail addresses.", "data"),
    "clean_html_mapper": Entry("plait.data.ops.clean.markup:CleanHtmlMapper", "Turns HTML into text.", "data"),
    "clean_ip_mapper": Entry("plait.data.ops.clean.addresses:CleanIpMapper", "Removes IP addresses.", "data"),
    "clean_links_mapper": Entry("plait.data.ops.clean.links:CleanLinksMapper", "Removes links.", "data"),
    "fix_unicode_mapper": Entry(
        "plait.data.ops.clean.unicode:FixUnicodeMapper", "Repairs mojibake, entities, quotes.", "data"
    ),
    "pii_redaction_mapper": Entry(
        "plait.data.ops.clean.pii:PiiRedactionMapper", "Puts placeholders in place of personal and secret data.", "data"
    ),
    "punctuation_normalization_mapper": Entry(
        "plait.data.ops.clean.punctuation:PunctuationNormalizationMapper",
        "Turns Unicode punctuation into ASCII.",
        "data",
    ),
    "remove_non_chinese_character_mapper": Entry(
        "plait.data.ops.clean.removed_characters:RemoveNonChineseCharacterMapper",
        "Removes all characters but Chinese ones.",
        "data",
    ),
    "remove_specific_chars_mapper": Entry(
        "plait.data.ops.clean.removed_characters:RemoveSpecificCharsMapper", "Removes some characters.", "data"
    ),
    "whitespace_normalization_mapper": Entry(
        "plait.data.ops.clean.whitespace:WhitespaceNormalizationMapper",
        "Turns every kind of blank into a space.",
        "data",
    ),
}
