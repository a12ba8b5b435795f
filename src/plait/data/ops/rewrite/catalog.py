"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "agent_dialog_normalize_mapper": Entry(
        "plait.data.ops.rewrite.agents:AgentDialogNormalizeMapper", "Writes agents' messages as a dialogue.", "data"
    ),
    "download_file_mapper": Entry(
        "plait.data.ops.rewrite.download:DownloadFileMapper", "Fetches the files that rows name.", "data"
    ),
    "expand_macro_mapper": Entry(
        "plait.data.ops.rewrite.latex:ExpandMacroMapper", "Puts the values of LaTeX macros in place.", "data"
    ),
    "extract_tables_from_html_mapper": Entry(
        "plait.data.ops.rewrite.html:ExtractTablesFromHtmlMapper", "Takes the tables out of web pages.", "data"
    ),
    "latex_figure_context_extractor_mapper": Entry(
        "plait.data.ops.rewrite.latex_figures:LatexFigureContextExtractorMapper",
        "Makes a row of each LaTeX figure.",
        "data",
    ),
    "latex_merge_tex_mapper": Entry(
        "plait.data.ops.rewrite.archives:LatexMergeTexMapper", "Reads the LaTeX files of an archive.", "data"
    ),
    "nlpaug_en_mapper": Entry(
        "plait.data.ops.rewrite.augment_en:NlpaugEnMapper", "Adds copies with random mistakes.", "data"
    ),
    "nlpcda_zh_mapper": Entry(
        "plait.data.ops.rewrite.augment_zh:NlpcdaZhMapper", "Adds changed copies of Chinese texts.", "data"
    ),
    "python_file_mapper": Entry(
        "plait.data.ops.rewrite.code:PythonFileMapper", "Rewrites rows by a function of your own.", "data"
    ),
    "python_lambda_mapper": Entry(
        "plait.data.ops.rewrite.code:PythonLambdaMapper", "Rewrites rows by a lambda of your own.", "data"
    ),
    "remove_bibliography_mapper": Entry(
        "plait.data.ops.rewrite.latex:RemoveBibliographyMapper", "Cuts a LaTeX text at its bibliography.", "data"
    ),
    "remove_comments_mapper": Entry(
        "plait.data.ops.rewrite.latex:RemoveCommentsMapper", "Removes the comments of a LaTeX text.", "data"
    ),
    "remove_header_mapper": Entry(
        "plait.data.ops.rewrite.latex:RemoveHeaderMapper", "Cuts what stands before the first LaTeX header.", "data"
    ),
    "remove_long_words_mapper": Entry(
        "plait.data.ops.rewrite.words:RemoveLongWordsMapper", "Drops words that are too short or too long.", "data"
    ),
    "remove_repeat_sentences_mapper": Entry(
        "plait.data.ops.rewrite.sentences:RemoveRepeatSentencesMapper",
        "Removes sentences that stood in the text before.",
        "data",
    ),
    "remove_table_text_mapper": Entry("plait.data.ops.rewrite.tables:RemoveTableTextMapper", "Removes tables.", "data"),
    "remove_words_with_incorrect_substrings_mapper": Entry(
        "plait.data.ops.rewrite.words:RemoveWordsWithIncorrectSubstringsMapper",
        "Drops words that hold certain strings.",
        "data",
    ),
    "replace_content_mapper": Entry(
        "plait.data.ops.rewrite.replace:ReplaceContentMapper", "Replaces what regular expressions find.", "data"
    ),
    "sentence_split_mapper": Entry(
        "plait.data.ops.rewrite.sentences:SentenceSplitMapper", "Puts each sentence on a line of its own.", "data"
    ),
    "text_chunk_mapper": Entry(
        "plait.data.ops.rewrite.chunks:TextChunkMapper", "Cuts texts into several rows.", "data"
    ),
    "tool_success_tagger_mapper": Entry(
        "plait.data.ops.rewrite.usage:ToolSuccessTaggerMapper", "Counts tool calls that succeeded and failed.", "data"
    ),
    "usage_counter_mapper": Entry(
        "plait.data.ops.rewrite.usage:UsageCounterMapper", "Adds up the tokens that were used.", "data"
    ),
}
