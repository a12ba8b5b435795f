"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "alphanumeric_filter": Entry(
        "plait.data.ops.filters.characters:AlphanumericFilter",
        "Keeps texts with a share of letters and digits.",
        "data",
    ),
    "average_line_length_filter": Entry(
        "plait.data.ops.filters.lines:AverageLineLengthFilter",
        "Keeps texts by the average length of a line.",
        "data",
    ),
    "character_repetition_filter": Entry(
        "plait.data.ops.filters.repetition:CharacterRepetitionFilter",
        "Keeps texts by repeated runs of characters.",
        "data",
    ),
    "flagged_words_filter": Entry(
        "plait.data.ops.filters.word_lists:FlaggedWordsFilter",
        "Keeps texts with few words of a list of flagged words.",
        "data",
    ),
    "general_field_filter": Entry(
        "plait.data.ops.filters.expression:GeneralFieldFilter",
        "Keeps rows for which a condition on their fields holds.",
        "data",
    ),
    "in_context_influence_filter": Entry(
        "plait.data.ops.filters.likelihood:InContextInfluenceFilter",
        "Keeps texts by how they help a model with a task's examples.",
        "data",
    ),
    "instruction_following_difficulty_filter": Entry(
        "plait.data.ops.filters.likelihood:InstructionFollowingDifficultyFilter",
        "Keeps answers by how much their question helps a model to foresee them.",
        "data",
    ),
    "language_id_score_filter": Entry(
        "plait.data.ops.filters.language:LanguageIDScoreFilter",
        "Keeps texts in given languages.",
        "data",
    ),
    "llm_analysis_filter": Entry(
        "plait.data.ops.filters.judged:LLMAnalysisFilter",
        "Keeps texts by a language model's marks for clarity, relevance, usefulness, fluency.",
        "data",
    ),
    "llm_condition_filter": Entry(
        "plait.data.ops.filters.condition:LLMConditionFilter",
        "Keeps texts of which a language model says that a condition holds.",
        "data",
    ),
    "llm_difficulty_score_filter": Entry(
        "plait.data.ops.filters.judged:LLMDifficultyScoreFilter",
        "Keeps texts by a language model's marks for difficulty.",
        "data",
    ),
    "llm_perplexity_filter": Entry(
        "plait.data.ops.filters.likelihood:LLMPerplexityFilter",
        "Keeps texts by a language model's perplexity.",
        "data",
    ),
    "llm_quality_score_filter": Entry(
        "plait.data.ops.filters.judged:LLMQualityScoreFilter",
        "Keeps texts by a language model's marks for quality.",
        "data",
    ),
    "llm_task_relevance_filter": Entry(
        "plait.data.ops.filters.judged:LLMTaskRelevanceFilter",
        "Keeps texts by a language model's marks for how they bear on a task.",
        "data",
    ),
    "maximum_line_length_filter": Entry(
        "plait.data.ops.filters.lines:MaximumLineLengthFilter",
        "Keeps texts by the length of the longest line.",
        "data",
    ),
    "perplexity_filter": Entry(
        "plait.data.ops.filters.perplexity:PerplexityFilter",
        "Keeps texts by an n-gram or small neural model's perplexity.",
        "data",
    ),
    "special_characters_filter": Entry(
        "plait.data.ops.filters.characters:SpecialCharactersFilter",
        "Keeps texts by punctuation, digits, symbols.",
        "data",
    ),
    "specified_field_filter": Entry(
        "plait.data.ops.filters.fields:SpecifiedFieldFilter",
        "Keeps rows whose field has one of given values.",
        "data",
    ),
    "specified_numeric_field_filter": Entry(
        "plait.data.ops.filters.fields:SpecifiedNumericFieldFilter",
        "Keeps rows whose field is a number in a range.",
        "data",
    ),
    "stopwords_filter": Entry(
        "plait.data.ops.filters.word_lists:StopWordsFilter",
        "Keeps texts with enough of a language's commonest words.",
        "data",
    ),
    "suffix_filter": Entry(
        "plait.data.ops.filters.fields:SuffixFilter",
        "Keeps rows that come from files with given suffixes.",
        "data",
    ),
    "text_action_filter": Entry(
        "plait.data.ops.filters.grammar:TextActionFilter",
        "Keeps texts with enough verbs.",
        "data",
    ),
    "text_embd_similarity_filter": Entry(
        "plait.data.ops.filters.similarity:TextEmbdSimilarityFilter",
        "Keeps texts close in meaning to given ones.",
        "data",
    ),
    "text_entity_dependency_filter": Entry(
        "plait.data.ops.filters.grammar:TextEntityDependencyFilter",
        "Keeps texts whose nouns are tied to other words.",
        "data",
    ),
    "text_length_filter": Entry(
        "plait.data.ops.filters.characters:TextLengthFilter",
        "Keeps texts by length in characters.",
        "data",
    ),
    "text_pair_similarity_filter": Entry(
        "plait.data.ops.filters.similarity:TextPairSimilarityFilter",
        "Keeps pairs of texts by how close they are in meaning.",
        "data",
    ),
    "token_num_filter": Entry(
        "plait.data.ops.filters.tokens:TokenNumFilter",
        "Keeps texts by number of tokens.",
        "data",
    ),
    "word_repetition_filter": Entry(
        "plait.data.ops.filters.repetition:WordRepetitionFilter",
        "Keeps texts by repeated runs of words.",
        "data",
    ),
    "words_num_filter": Entry(
        "plait.data.ops.filters.words:WordsNumFilter",
        "Keeps texts by number of words.",
        "data",
    ),
}
