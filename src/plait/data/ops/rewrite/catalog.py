"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "expand_macro_mapper": Entry("plait.data.ops.rewrite.latex:ExpandMacroMapper", "Puts the values of LaTeX macros in place.", "data"),
    "remove_bibliography_mapper": Entry("plait.data.ops.rewrite.latex:RemoveBibliographyMapper", "Cuts a LaTeX text at its bibliography.", "data"),
    "remove_comments_mapper": Entry("plait.data.ops.rewrite.latex:RemoveCommentsMapper", "Removes the comments of a LaTeX text.", "data"),
    "remove_header_mapper": Entry("plait.data.ops.rewrite.latex:RemoveHeaderMapper", "Cuts what stands before the first LaTeX header.", "data"),
    "remove_long_words_mapper": Entry("plait.data.ops.rewrite.words:RemoveLongWordsMapper", "Drops words that are too short or too long.", "data"),
    "remove_repeat_sentences_mapper": Entry("plait.data.ops.rewrite.sentences:RemoveRepeatSentencesMapper", "Removes sentences that stood in the text before.", "data"),
    "remove_table_text_mapper": Entry("plait.data.ops.rewrite.tables:RemoveTableTextMapper", "Removes tables.", "data"),
    "remove_words_with_incorrect_substrings_mapper": Entry("plait.data.ops.rewrite.words:RemoveWordsWithIncorrectSubstringsMapper", "Drops words that hold certain strings.", "data"),
    "sentence_split_mapper": Entry("plait.data.ops.rewrite.sentences:SentenceSplitMapper", "Puts each sentence on a line of its own.", "data"),
}
