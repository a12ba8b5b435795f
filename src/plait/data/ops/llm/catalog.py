"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "agent_bad_case_signal_mapper": Entry(
        "plait.data.ops.llm.signals:AgentBadCaseSignalMapper",
        "Lists signs that a session of an agent went wrong, and sorts it into a tier. Asks no model.",
        "data",
    ),
    "agent_insight_llm_mapper": Entry(
        "plait.data.ops.llm.agents:AgentInsightLlmMapper",
        "Writes a short case report of one session from what other operations found out about it.",
        "data",
    ),
    "agent_skill_insight_mapper": Entry(
        "plait.data.ops.llm.agents:AgentSkillInsightMapper",
        "Sums up in a few phrases what an agent can do, from its tools and skills.",
        "data",
    ),
    "agent_tool_relevance_mapper": Entry(
        "plait.data.ops.llm.judges:AgentToolRelevanceMapper",
        "Judges whether an agent used the tools that its task needs.",
        "data",
    ),
    "agent_tool_type_mapper": Entry(
        "plait.data.ops.llm.agents:AgentToolTypeMapper",
        "Says which tools an agent used most, from the list of its calls. Asks no model.",
        "data",
    ),
    "agent_trace_coherence_mapper": Entry(
        "plait.data.ops.llm.judges:AgentTraceCoherenceMapper",
        "Judges whether an agent's trace leads to its goal without detours.",
        "data",
    ),
    "calibrate_qa_mapper": Entry(
        "plait.data.ops.llm.answers:CalibrateQaMapper",
        "Makes a question and its answer more exact by a reference text.",
        "data",
    ),
    "calibrate_query_mapper": Entry(
        "plait.data.ops.llm.answers:CalibrateQueryMapper",
        "Makes a question more exact by a reference text; its answer stays.",
        "data",
    ),
    "calibrate_response_mapper": Entry(
        "plait.data.ops.llm.answers:CalibrateResponseMapper",
        "Makes an answer more exact by a reference text; its question stays.",
        "data",
    ),
    "dialog_clarification_quality_mapper": Entry(
        "plait.data.ops.llm.judges:DialogClarificationQualityMapper",
        "Judges whether a reply asks back when it should, and asks well.",
        "data",
    ),
    "dialog_coreference_mapper": Entry(
        "plait.data.ops.llm.judges:DialogCoreferenceMapper",
        'Judges whether a reply understands what words such as "it" and "that one" refer to.',
        "data",
    ),
    "dialog_error_recovery_mapper": Entry(
        "plait.data.ops.llm.judges:DialogErrorRecoveryMapper",
        "Judges how a reply deals with the user's objection to an earlier mistake.",
        "data",
    ),
    "dialog_intent_detection_mapper": Entry(
        "plait.data.ops.llm.dialogs:DialogIntentDetectionMapper",
        "Says what the user wants in each turn of a dialog.",
        "data",
    ),
    "dialog_memory_consistency_mapper": Entry(
        "plait.data.ops.llm.judges:DialogMemoryConsistencyMapper",
        "Judges whether a reply keeps to what the user said before.",
        "data",
    ),
    "dialog_non_repetition_mapper": Entry(
        "plait.data.ops.llm.judges:DialogNonRepetitionMapper", "Judges whether a reply brings something new.", "data"
    ),
    "dialog_proactivity_mapper": Entry(
        "plait.data.ops.llm.judges:DialogProactivityMapper",
        "Judges whether a reply helps beyond the letter of the request, within reason.",
        "data",
    ),
    "dialog_sentiment_detection_mapper": Entry(
        "plait.data.ops.llm.dialogs:DialogSentimentDetectionMapper",
        "Says what the user feels in each turn of a dialog.",
        "data",
    ),
    "dialog_sentiment_intensity_mapper": Entry(
        "plait.data.ops.llm.dialogs:DialogSentimentIntensityMapper",
        "Says how content the user is in each turn of a dialog, from -5 to 5.",
        "data",
    ),
    "dialog_topic_detection_mapper": Entry(
        "plait.data.ops.llm.dialogs:DialogTopicDetectionMapper",
        "Says what the user talks about in each turn of a dialog.",
        "data",
    ),
    "dialog_topic_shift_mapper": Entry(
        "plait.data.ops.llm.judges:DialogTopicShiftMapper",
        "Judges whether a reply follows when the user changes the topic.",
        "data",
    ),
    "extract_entity_attribute_mapper": Entry(
        "plait.data.ops.llm.knowledge:ExtractEntityAttributeMapper",
        "Sums up attributes of entities from a text, with the passages that show them.",
        "data",
    ),
    "extract_entity_relation_mapper": Entry(
        "plait.data.ops.llm.knowledge:ExtractEntityRelationMapper",
        "Finds the entities of a text and how they are related: a knowledge graph.",
        "data",
    ),
    "extract_event_mapper": Entry(
        "plait.data.ops.llm.extract:ExtractEventMapper",
        "Cuts a text into events, a row each, with the characters that take part.",
        "data",
    ),
    "extract_keyword_mapper": Entry(
        "plait.data.ops.llm.extract:ExtractKeywordMapper", "Finds the keywords of a text.", "data"
    ),
    "extract_nickname_mapper": Entry(
        "plait.data.ops.llm.knowledge:ExtractNicknameMapper",
        "Finds by which nicknames the characters of a text call each other.",
        "data",
    ),
    "extract_support_text_mapper": Entry(
        "plait.data.ops.llm.extract:ExtractSupportTextMapper",
        "Finds the passage of a text that a summary in its meta is about.",
        "data",
    ),
    "generate_qa_from_examples_mapper": Entry(
        "plait.data.ops.llm.generate:GenerateQaFromExamplesMapper",
        "Writes a new question and its answer after examples; one for each row there is.",
        "data",
    ),
    "generate_qa_from_text_mapper": Entry(
        "plait.data.ops.llm.generate:GenerateQaFromTextMapper",
        "Writes questions about a text with their answers, a row each.",
        "data",
    ),
    "human_preference_annotation_mapper": Entry(
        "plait.data.ops.llm.annotate:HumanPreferenceAnnotationMapper",
        "Writes pairs of answers as tasks for Label Studio, and reads back which one people prefer.",
        "data",
    ),
    "llm_extract_mapper": Entry(
        "plait.data.ops.llm.extract:LlmExtractMapper", "Reads fields of one's own out of a text.", "data"
    ),
    "optimize_prompt_mapper": Entry(
        "plait.data.ops.llm.generate:OptimizePromptMapper",
        "Writes new prompts after those of a chunk; each new one is an example for the next.",
        "data",
    ),
    "optimize_qa_mapper": Entry(
        "plait.data.ops.llm.answers:OptimizeQaMapper", "Makes a question and its answer more detailed.", "data"
    ),
    "optimize_query_mapper": Entry(
        "plait.data.ops.llm.answers:OptimizeQueryMapper", "Makes a question more detailed; its answer stays.", "data"
    ),
    "optimize_response_mapper": Entry(
        "plait.data.ops.llm.answers:OptimizeResponseMapper",
        "Makes an answer more detailed; its question stays.",
        "data",
    ),
    "pair_preference_mapper": Entry(
        "plait.data.ops.llm.generate:PairPreferenceMapper",
        "Writes an answer worse than the one there is, and why: a pair to learn preferences from.",
        "data",
    ),
    "pii_llm_suspect_mapper": Entry(
        "plait.data.ops.llm.privacy:PiiLlmSuspectMapper",
        "Lets a model look for personal data and secrets that patterns have missed; may blot them out.",
        "data",
    ),
    "query_intent_detection_mapper": Entry(
        "plait.data.ops.llm.tags:QueryIntentDetectionMapper",
        "Says whether a query is a question, a command, or something else.",
        "data",
    ),
    "query_sentiment_detection_mapper": Entry(
        "plait.data.ops.llm.tags:QuerySentimentDetectionMapper",
        "Says whether a query is negative, neutral or positive.",
        "data",
    ),
    "query_topic_detection_mapper": Entry(
        "plait.data.ops.llm.tags:QueryTopicDetectionMapper", "Says what a query is about.", "data"
    ),
    "relation_identity_mapper": Entry(
        "plait.data.ops.llm.extract:RelationIdentityMapper",
        "Says what one person or thing is to another, by a text.",
        "data",
    ),
    "sentence_augmentation_mapper": Entry(
        "plait.data.ops.llm.generate:SentenceAugmentationMapper",
        "Writes a variant of each sentence into another field.",
        "data",
    ),
    "text_tagging_by_prompt_mapper": Entry(
        "plait.data.ops.llm.tags:TextTaggingByPromptMapper", "Sorts each text into one of some classes.", "data"
    ),
}
