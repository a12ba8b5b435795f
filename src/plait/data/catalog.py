"""Names of the data operations: Data-Juicer's, so that its recipes run; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "alphanumeric_filter": Entry(
        "plait.data.ops.characters:AlphanumericFilter", "Keeps texts with a share of letters and digits.", "data"
    ),
    "average_line_length_filter": Entry(
        "plait.data.ops.lines:AverageLineLengthFilter", "Keeps texts by the average length of a line.", "data"
    ),
    "character_repetition_filter": Entry(
        "plait.data.ops.repetition:CharacterRepetitionFilter", "Keeps texts by repeated runs of characters.", "data"
    ),
    "document_deduplicator": Entry("plait.data.ops.duplicates:DocumentDeduplicator", "Drops exact copies.", "data"),
    "document_minhash_deduplicator": Entry(
        "plait.data.ops.duplicates:DocumentMinhashDeduplicator", "Drops near copies, each verified.", "data"
    ),
    "fix_unicode_mapper": Entry(
        "plait.data.ops.unicode:FixUnicodeMapper", "Repairs mojibake, entities, quotes.", "data"
    ),
    "maximum_line_length_filter": Entry(
        "plait.data.ops.lines:MaximumLineLengthFilter", "Keeps texts by the length of the longest line.", "data"
    ),
    "special_characters_filter": Entry(
        "plait.data.ops.characters:SpecialCharactersFilter", "Keeps texts by punctuation, digits, symbols.", "data"
    ),
    "text_length_filter": Entry(
        "plait.data.ops.characters:TextLengthFilter", "Keeps texts by length in characters.", "data"
    ),
    "whitespace_normalization_mapper": Entry(
        "plait.data.ops.whitespace:WhitespaceNormalizationMapper", "Turns every kind of blank into a space.", "data"
    ),
    "word_repetition_filter": Entry(
        "plait.data.ops.repetition:WordRepetitionFilter", "Keeps texts by repeated runs of words.", "data"
    ),
    "words_num_filter": Entry("plait.data.ops.words:WordsNumFilter", "Keeps texts by number of words.", "data"),
}
