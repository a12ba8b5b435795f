from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.ops.rewrite.augment_en import NlpaugEnMapper
from plait.data.ops.rewrite.augment_zh import NlpcdaZhMapper
from plait.errors import DataError

ENGLISH = [
    "delete_random_word",
    "swap_random_word",
    "split_random_word",
    "keyboard_error_char",
    "ocr_error_char",
    "delete_random_char",
    "swap_random_char",
    "insert_random_char",
]
TEXT = "several longer words make another plain English sentence here"
ZH = "这里一共有5种不同的数据增强方法，今天天气很好，我们一起去人民公园散步吧2023" * 3


@pytest.mark.parametrize("name", ENGLISH)
def test_each_english_change_does_what_its_name_says(name: str):
    [copy] = NlpaugEnMapper.model_validate({name: True, "keep_original_sample": False}).rewrite_texts([TEXT])
    words, before = copy.split(), TEXT.split()
    assert copy != TEXT
    if name == "delete_random_word":
        assert len(words) == len(before) - 3  # three in ten of nine, rounded up
    elif name == "swap_random_word":
        assert sorted(words) == sorted(before)
    elif name == "split_random_word":
        assert copy.replace(" ", "") == TEXT.replace(" ", "")
        assert len(words) > len(before)
    elif name == "swap_random_char":
        assert sorted(copy) == sorted(TEXT)
    elif name in ("keyboard_error_char", "ocr_error_char"):
        assert len(copy) == len(TEXT)
    else:
        assert (len(copy) > len(TEXT)) == (name == "insert_random_char")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_copies_depend_on_the_text_and_the_seed_alone(texts: list[str], seed: int):
    op = NlpaugEnMapper.model_validate(dict.fromkeys(ENGLISH, True) | {"sequential": True, "seed": seed, "aug_num": 2})
    together = op.apply(Batch.of(pl.DataFrame({"text": texts}))).frame["text"].to_list()
    assert together == [copy for text in texts for copy in op.rewrite_texts([text])]
    assert together[::3] == texts


def test_seeds_matter_and_numbers_of_copies_are_as_documented():
    copies = [NlpaugEnMapper(swap_random_char=True, seed=seed).rewrite_texts([TEXT])[1] for seed in range(4)]
    assert len(set(copies)) == 4
    both = {"swap_random_word": True, "delete_random_word": True, "aug_num": 3}
    assert len(NlpaugEnMapper.model_validate(both).rewrite_texts([TEXT])) == 7
    assert len(NlpaugEnMapper.model_validate(both | {"sequential": True}).rewrite_texts([TEXT])) == 4
    assert NlpaugEnMapper().rewrite_texts([TEXT]) == [TEXT]
    assert NlpaugEnMapper(keep_original_sample=False).rewrite_texts([TEXT]) == []


def test_misspellings_come_from_a_list(tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_text("several sevral\nEnglish Inglish\nwords worts\n", encoding="utf-8")
    op = NlpaugEnMapper(spelling_error_word=True, spelling_path=str(file), keep_original_sample=False)
    assert op.rewrite_texts([TEXT]) == ["sevral longer worts make another plain Inglish sentence here"]
    with pytest.raises(DataError) as raised:
        NlpaugEnMapper(spelling_error_word=True, spelling_path="nowhere").rewrite_texts([TEXT])
    assert raised.value.code == "data.missing-list"


def test_chinese_changes(tmp_path: Path):
    def copies(**settings: object) -> list[str]:
        return NlpcdaZhMapper.model_validate({"keep_original_sample": False, "aug_num": 2} | settings).rewrite_texts(
            [ZH]
        )

    dropped = copies(delete_random_char=True)
    assert len(dropped) == 2
    assert all(len(copy) < len(ZH) for copy in dropped)
    assert all(sorted(copy) == sorted(ZH) and copy != ZH for copy in copies(swap_random_char=True))
    numerals = copies(replace_equivalent_num=True)
    assert all(len(copy) == len(ZH) and copy != ZH for copy in numerals)
    words, sounds = tmp_path / "words.txt", tmp_path / "sounds.txt"
    words.write_text("Aa01= 今天 今日 今儿\nAb01# 天气 气候\n", encoding="utf-8")
    sounds.write_text("gong\t公\t工\n", encoding="utf-8")
    similar = copies(replace_similar_word=True, similar_words_path=str(words), seed=3)
    assert similar
    assert all(("今日" in copy or "今儿" in copy) and "气候" not in copy for copy in similar)
    assert all("工园" in copy for copy in copies(replace_homophone_char=True, homophones_path=str(sounds)))


def test_texts_without_anything_to_change_have_no_copies():
    assert NlpcdaZhMapper(swap_random_char=True).rewrite_texts(["one"]) == ["one"]
