"""Which settings of which operation are compared. Filters get their bounds from the numbers measured."""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

SETTINGS: dict[str, list[Settings]] = {
    # filters
    "alphanumeric_filter": [{}],
    "average_line_length_filter": [{}],
    "character_repetition_filter": [{}, {"rep_len": 1}, {"rep_len": 4}, {"rep_len": 30}],
    "flagged_words_filter": [
        {"flagged_words_dir": "WORDS"},
        {"flagged_words_dir": "WORDS", "lang": "all"},
        {"flagged_words_dir": "WORDS", "lang": "zh", "use_words_aug": True, "words_aug_group_sizes": [2, 3]},
        {"flagged_words_dir": "WORDS", "tokenization": True, "use_words_aug": True, "words_aug_group_sizes": [3]},
    ],
    "general_field_filter": [
        {"filter_condition": "meta.stars > 10 and meta.score <= 0.5"},
        {"filter_condition": "meta.source == 'web' or 5 <= meta.stars < 20"},
        {"filter_condition": "meta.stars >= 0 and not meta.stars > 30"},
        {"filter_condition": "1 < 2 and meta.source in ['web', 'book']"},
        {"filter_condition": "not (meta.stars > 3 and meta.score < 0.5) or query == response"},
        {"filter_condition": "meta.stars"},
        {"filter_condition": "meta.stars > 10", "reversed_range": True},
        {},
    ],
    "language_id_score_filter": [
        {},
        {"lang": ["de", "zh"], "min_score": 0.3},
        {"lang": "en", "min_score": 0.5, "reversed_range": True, "min_closed_interval": False},
    ],
    "maximum_line_length_filter": [{}],
    "special_characters_filter": [{}],
    "specified_field_filter": [
        {"field_key": "meta.source", "target_value": ["web", "code"]},
        {"field_key": "meta.stars", "target_value": [1, 2, 3]},
        {"field_key": "meta.source", "target_value": ["web"], "reversed_range": True},
        {"field_key": "meta.stars", "target_value": [1.0, True, "2"]},
        {"field_key": "text", "target_value": [""]},
        {},
    ],
    "specified_numeric_field_filter": [
        {"field_key": "meta.stars", "min_value": 10, "max_value": 20},
        {"field_key": "meta.score", "max_value": 0.5},
        {"field_key": "meta.stars", "min_value": 10, "max_value": 20, "reversed_range": True},
        {"field_key": "meta.stars", "min_value": 10, "max_value": 20, "min_closed_interval": False},
        {"field_key": "meta.stars", "min_value": 10, "max_value": 20, "reversed_range": True,
         "max_closed_interval": False},
        {"field_key": "meta.source", "min_value": 1},
        {},
    ],
    "stopwords_filter": [
        {"stopwords_dir": "WORDS"},
        {"stopwords_dir": "WORDS", "lang": "all"},
        {"stopwords_dir": "WORDS", "lang": "zh", "use_words_aug": True, "words_aug_join_char": "_"},
        {"stopwords_dir": "WORDS", "use_words_aug": True, "words_aug_group_sizes": [2, 2, 1]},
        {"stopwords_dir": "WORDS", "tokenization": True},
    ],
    "suffix_filter": [
        {"suffixes": ".py"},
        {"suffixes": [".txt", ".md"]},
        {"suffixes": [".txt"], "reversed_range": True},
        {"suffixes": ["", "py"]},
        {},
    ],
    "text_length_filter": [{}],
    "word_repetition_filter": [{}, {"rep_len": 1}, {"rep_len": 3}, {"rep_len": 2, "tokenization": True}],
    "words_num_filter": [{}, {"tokenization": True}],
    # mappers
    "chinese_convert_mapper": [
        {"mode": mode}
        for mode in ("s2t", "t2s", "s2tw", "tw2s", "s2hk", "hk2s", "s2twp", "tw2sp", "t2tw", "tw2t", "hk2t", "t2hk",
                     "t2jp", "jp2t")
    ],
    "clean_copyright_mapper": [{}],
    "clean_email_mapper": [
        {},
        {"repl": "<mail>"},
        {"pattern": r"\w+@\w+"},
        {"pattern": r"(?P<who>[\w-.]+)@\<?(.)", "repl": r"\2 at \g<who>"},
    ],
    "clean_html_mapper": [{}],
    "clean_ip_mapper": [{}, {"repl": "<ip>"}, {"pattern": r"[0-9]{,3}\.[0-9]+"}],
    "clean_links_mapper": [{}, {"repl": "<link>"}, {"pattern": r"(?i)\<?https?://[^\s>]+\>?", "repl": "$0"}],
    "expand_macro_mapper": [{}],
    "extract_tables_from_html_mapper": [
        {},
        {"retain_html_tags": True},
        {"include_header": False, "tables_field_name": "tables"},
    ],
    "fix_unicode_mapper": [{}, {"normalization": "NFKC"}, {"normalization": "NFD"}, {"normalization": "nfkd"}],
    "latex_figure_context_extractor_mapper": [{}],
    "punctuation_normalization_mapper": [{}],
    "remove_bibliography_mapper": [{}],
    "remove_comments_mapper": [{}, {"inline": False}, {"multiline": False}, {"inline": False, "multiline": False}],
    "remove_header_mapper": [{}, {"drop_no_head": False}],
    "remove_long_words_mapper": [{}, {"min_len": 2, "max_len": 10}],
    "remove_non_chinese_character_mapper": [
        {},
        {"keep_alphabet": False},
        {"keep_number": False, "keep_punc": False},
        {"keep_punc": False},
        {"keep_alphabet": False, "keep_number": False, "keep_punc": False},
    ],
    "remove_repeat_sentences_mapper": [
        {},
        {"lowercase": True, "ignore_special_character": False},
        {"min_repeat_sentence_length": 8},
        {"min_repeat_sentence_length": 0, "lowercase": True},
    ],
    "remove_specific_chars_mapper": [{}, {"chars_to_remove": "abc"}, {"chars_to_remove": ["é", "字"]},
                                     {"chars_to_remove": "]^a-z\\\n"}, {"chars_to_remove": []}],
    "remove_table_text_mapper": [{}, {"min_col": 3, "max_col": 4}, {"max_col": 2}, {"min_col": 5, "max_col": 3}],
    "remove_words_with_incorrect_substrings_mapper": [
        {},
        {"substrings": ["th", "字"]},
        {"substrings": [""]},
        {"substrings": []},
        {"substrings": ["th", "a"], "tokenization": True},
    ],
    "replace_content_mapper": [
        {"pattern": "the", "repl": "THE"},
        {"pattern": [r"\d+", "[aeiou]"], "repl": ["#", "*"]},
        {"pattern": r"(\w)-(\w)", "repl": r"\2-\1"},
        {"pattern": [r"\<|\>", r"[a-c&&[x]|{|}", r"[\s--]+"], "repl": ["(", "{", " "]},
        {"pattern": "(?i)(?:k|s{2,})", "repl": "$1"},
        {},
    ],
    "text_chunk_mapper": [
        {},
        {"max_len": 100, "split_pattern": None},
        {"max_len": 100, "split_pattern": None, "overlap_len": 20},
        {"max_len": 200, "split_pattern": r"\n"},
        {"max_len": 200, "split_pattern": r"\n", "overlap_len": 10},
        {"split_pattern": r"(\n)|x"},
        {"max_len": 300, "split_pattern": r"(?<=[.!?])\s"},
    ],
    "whitespace_normalization_mapper": [{}],
    "pii_redaction_mapper": [
        {},
        {"mask_urls": True, "mask_paths": False, "mask_pem": False, "mask_macs": False, "mask_phones": False,
         "mask_platform_open_ids": False, "url_replacement": "<url>", "ip_replacement": "0"},
        {"mask_emails": False, "mask_secrets": False, "mask_ids": False, "mask_id_cards": False, "mask_jwt": False,
         "mask_channel_ids": False, "mask_ips": False, "path_replacement": "", "phone_replacement": "$1",
         "extra_patterns": [["a.b", "<\\g<0>>"], ["[a-z]+@", "@"]]},
        {"redact_keys": ["query", "meta"]},
    ],
    # deduplicators and selectors
    "document_deduplicator": [{}, {"lowercase": True}, {"ignore_non_character": True}],
    "document_line_deduplicator": [
        {},
        {"frequency_threshold": 2},
        {"lowercase": True, "ignore_special_character": True},
        {"skip_brackets": False, "skip_markdown_headers": False, "skip_latex_env": False, "skip_html_tags": False},
        {"min_line_length": 10},
    ],
    "document_minhash_deduplicator": [
        {},
        {"tokenization": "character"},
        {"tokenization": "punctuation", "lowercase": False},
        {"jaccard_threshold": 0.9, "window_size": 3},
    ],
    "document_simhash_deduplicator": [
        {},
        {"tokenization": "character"},
        {"ignore_pattern": r"\p{P}", "hamming_distance": 3, "num_blocks": 5},
    ],
    "frequency_specified_field_selector": [
        {"field_key": "meta.source", "topk": 2},
        {"field_key": "meta.stars", "top_ratio": 0.1},
        {"field_key": "meta.stars", "top_ratio": 0.5, "topk": 3, "reverse": False},
        {},
    ],
    "range_specified_field_selector": [
        {"field_key": "meta.score", "lower_percentile": 0.2, "upper_percentile": 0.7},
        {"field_key": "meta.stars", "lower_rank": 100, "upper_rank": 500},
        {"field_key": "meta.stars", "lower_percentile": 0.1, "upper_percentile": 0.9, "lower_rank": 5,
         "upper_rank": 900},
        {},
    ],
    "tags_specified_field_selector": [
        {"field_key": "meta.source", "target_tags": ["web", "mail"]},
    ],
    "topk_specified_field_selector": [
        {"field_key": "meta.score", "topk": 100},
        {"field_key": "meta.stars", "top_ratio": 0.3},
        {"field_key": "meta.stars", "top_ratio": 0.3, "topk": 10, "reverse": False},
        {},
    ],
    # groupers
    "key_value_grouper": [{"group_by_keys": ["meta.language"]}],
    "naive_grouper": [{}],
}  # fmt: skip
"""Operation → settings. ``WORDS`` stands for a folder with lists of words; see `write_words`."""

OF_CONVERSATIONS: dict[str, list[Settings]] = {
    "agent_dialog_normalize_mapper": [
        {},
        {"include_system_in_first_user": True, "history_tool_result_max_chars": 0},
        {"history_max_user_chars": 900, "history_max_assistant_trace_chars": 600, "extract_tool_skill_tags": False},
    ],
    "agent_tool_type_mapper": [{}, {"top_k_dominant": 2}],
    "tool_success_tagger_mapper": [{}, {"error_patterns": ["data"], "store_per_tool_results": False}],
    "usage_counter_mapper": [{}, {"dedupe_identical_usage": False}],
}
"""The same for operations on agents' messages."""

OF_SESSIONS: dict[str, list[Settings]] = {
    "agent_bad_case_signal_mapper": [
        {},
        {
            "max_total_tokens": 999,
            "max_latency_ms": 10,
            "signal_on_high_perplexity": True,
            "min_tool_fail_count_for_signal": 2,
        },
        {
            "signal_on_negative_sentiment_hint": True,
            "signal_hard_query_poor_reply": True,
            "hard_query_difficulty_min": 0.3,
        },
        {"llm_analysis_discard_must_be_strict": False, "llm_text_quality_discard_must_be_strict": False},
        {"high_precision_on_tool_fail_alone": False, "min_medium_signals_for_watchlist": 3},
        {"auto_calibrate_thresholds": True, "calibration_json_path": "THRESHOLDS"},
        {
            "auto_calibrate_thresholds": True,
            "calibration_json_path": "THRESHOLDS",
            "calibration_manual_overrides_auto": False,
            "max_total_tokens": 1,
            "signal_on_high_perplexity": True,
        },
        {
            "auto_calibrate_thresholds": True,
            "calibration_json_path": "THRESHOLDS",
            "auto_enable_perplexity_from_calibration": False,
            "max_latency_ms": 5,
            "min_dialog_quality_low_axes_for_signal": 2,
        },
    ],
}
"""The same for operations on what is known of agents' sessions."""

LEFT_OUT: dict[str, str] = {
    "document_minhash_deduplicator_with_uid": "document_minhash_deduplicator by another name",
    "ray_bts_minhash_cpp_deduplicator": "document_minhash_deduplicator by another name; the peer's needs Ray",
    "ray_bts_minhash_deduplicator": "document_minhash_deduplicator by another name; the peer's needs Ray",
    "ray_bts_minhash_deduplicator_with_uid": "document_minhash_deduplicator by another name; the peer's needs Ray",
    "ray_document_deduplicator": "document_deduplicator by another name; the peer's needs Ray",
    "latex_merge_tex_mapper": "reads archives from disk",
    "nlpaug_en_mapper": "draws at random, from another generator",
    "nlpcda_zh_mapper": "draws at random, from another generator",
    "python_file_mapper": "runs the user's own code",
    "python_lambda_mapper": "runs the user's own code",
    "naive_reverse_grouper": "takes apart what naive_grouper made; these rows are not made by it",
    "random_selector": "draws at random, from another generator",
    "token_num_filter": "needs a tokenizer that the peer would download",
    "sentence_split_mapper": "needs a model that the peer would download",
}
"""Operation → why it is not compared."""

STOPWORDS = {
    "en": ["the", "a", "of", "and", "to", "in", "is"],
    "zh": ["的", "是", "一个", "的_是"],
    "de": ["der", "und"],
}
FLAGGED = {"en": ["test", "error", "none"], "zh": ["错误", "文本"], "de": ["fehler"]}
