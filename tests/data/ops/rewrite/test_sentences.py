from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.ops.rewrite.sentences import RemoveRepeatSentencesMapper, SentenceSplitMapper
from plait.data.ops.rewrite.splitters import rules
from plait.errors import ModelError, UsageError


def without_repeats(text: str, *, lowercase: bool, plain: bool, least: int) -> str:
    lines = list[str]()
    seen = set[str]()
    for line in text.split("\n"):
        split = re.sub(r"([.。！!？\?])([^’”])", r"\1\n\2", line)
        split = re.sub(r"(…{2})([^’”])", r"\1\n\2", split)
        split = re.sub(r"([.。！!？\?{6}…2][’”])([^’”])", r"\1\n\2", split)
        kept = ""
        for sentence in split.split("\n") if line else []:
            compared = sentence.strip().lower() if lowercase else sentence.strip()
            compared = re.sub(r"[^a-zA-Z0-9\u4e00-\u9fa5\n\t ]", "", compared) if plain else compared
            if len(compared) < least or compared not in seen:
                kept += sentence
            if len(compared) >= least:
                seen.add(compared)
        lines.append(kept)
    return "\n".join(lines)


@given(
    st.lists(st.text("abA.。！?”’…6{} \n\tΣσİ中K\x1c", max_size=40), max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=150)
def test_repeats_go_as_by_the_patterns_of_data_juicer(texts: list[str], lowercase: bool, plain: bool, least: int):
    op = RemoveRepeatSentencesMapper(
        lowercase=lowercase, ignore_special_character=plain, min_repeat_sentence_length=least
    )
    want = [without_repeats(text, lowercase=lowercase, plain=plain, least=least) for text in texts]
    assert op.rewrite_texts(texts) == want


def test_a_tokenizer_of_ones_own_runs_only_where_it_is_trusted():
    source = "lambda line: line.split('; ')"
    with pytest.raises(UsageError) as raised:
        RemoveRepeatSentencesMapper(tokenizer=source)
    assert raised.value.code == "data.untrusted-code"
    op = RemoveRepeatSentencesMapper(tokenizer=source, trust_code=True)
    assert op.rewrite_texts(["one; two; one; three"]) == ["one two three"]


def test_punkt_without_data_says_what_to_do(tmp_path: Path):
    with pytest.raises((ModelError, UsageError)) as raised:
        SentenceSplitMapper(punkt_path=str(tmp_path)).rewrite_texts(["One. Two."])
    assert raised.value.code in ("model.missing", "extra.missing")


@pytest.mark.parametrize(
    ("text", "lang", "want"),
    [
        ("He left. She stayed!", "en", ["He left.", "She stayed!"]),
        ("At 3.14 p.m. we met Mr. J. Doe.", "en", ["At 3.14 p.m. we met Mr. J. Doe."]),
        ('"Go!" he said. "No."', "en", ['"Go!" he said.', '"No."']),
        ("Wait... what? Yes.", "en", ["Wait... what?", "Yes."]),
        ("La Sra. Ruiz vino. ¿Y usted?", "es", ["La Sra. Ruiz vino.", "¿Y usted?"]),
        ("M. Dupont dort. Il rêve.", "fr", ["M. Dupont dort.", "Il rêve."]),
        ("O Sr. Silva saiu. Fim.", "pt", ["O Sr. Silva saiu.", "Fim."]),
        ("", "en", []),
    ],
)
def test_rules_know_abbreviations(text: str, lang: str, want: list[str]):
    assert rules(text, lang) == want


@pytest.mark.parametrize("text", ["a." * 200_000, "." * 200_000, "!?" * 100_000 + "a", '."' * 100_000 + "a"])
def test_rules_take_linear_time(text: str):
    assert len(rules(text, "en")) == 1
