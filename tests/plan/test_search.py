from __future__ import annotations

from math import log

import pytest

from plait.plan.search import BM25, Library, sentences, split


def test_bm25_by_hand() -> None:
    # Three texts of 3, 3 and 4 words, average 10/3. "dog" is in two of them, "down" in one.
    index = BM25(["the cat sat", "a dog ran", "the dog sat down"])
    rare_dog = log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    rare_down = log(1 + (3 - 1 + 0.5) / (1 + 0.5))
    weight_3 = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 3 / (10 / 3)))
    weight_4 = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 4 / (10 / 3)))
    assert index.search("dog down dog", top=5) == [
        (2, pytest.approx((rare_dog + rare_down) * weight_4)),
        (1, pytest.approx(rare_dog * weight_3)),
    ]
    assert index.search("dog down", top=1) == [(2, pytest.approx((rare_dog + rare_down) * weight_4))]


def test_repeated_words_count_less_and_less() -> None:
    scores = dict(BM25(["x a a a", "x x a a", "x x x a"], b=0.0).search("x", top=3))
    assert scores[2] > scores[1] > scores[0]
    assert scores[1] - scores[0] > scores[2] - scores[1]


def test_equal_texts_come_in_order_and_unknown_words_find_nothing() -> None:
    index = BM25(["same", "same", "other"])
    assert [place for place, _ in index.search("same", top=5)] == [0, 1]
    assert index.search("nothing", top=5) == []
    assert BM25([]).search("a", top=3) == []


def test_a_document_named_in_the_query_comes_first() -> None:
    documents = [
        {"id": "wrap.fill", "text": "the default width of wrap.Wrapper width width"},
        {"id": "wrap.Wrapper", "text": "tabs and spaces"},
    ]
    library = Library(documents)
    assert library.find("default width of wrap.Wrapper")[0][0].source == "wrap.Wrapper"
    assert library.find("default width")[0][0].source == "wrap.fill"


def test_identifiers_are_found_by_their_parts() -> None:
    library = Library([{"id": "a", "text": "use socket.create_server here"}])
    assert library.find("server")
    assert library.find("socket.create_server")
    assert not library.find("serve")


def test_passages_are_whole_paragraphs() -> None:
    text = "\n\n".join(["word " * 50] * 5)
    passages = list(split(text, size=80))
    assert [len(p.split()) for p in passages] == [100, 100, 50]
    assert list(split("  \n\n \n")) == []


def test_sentences_of_a_docstring() -> None:
    text = (
        "Object for wrapping. It has\nattributes:\n\n  width (default: 70)\n    the maximum width\n"
        "  tabsize (default: 8)\n    Expand tabs.\n\n- first item\n- second item, e.g. this\n"
    )
    assert sentences(text) == [
        "Object for wrapping.",
        "It has attributes:",
        "width (default: 70) the maximum width",
        "tabsize (default: 8) Expand tabs.",
        "- first item",
        "- second item, e.g. this",
    ]


def test_a_list_is_apart_from_the_sentence_that_introduces_it_and_a_name_is_not_from_its_description() -> None:
    text = "Attributes control aspects of wrapping:\n  width (default: 70)\n    of lines\nrest:\n  given. [default: 1]"
    assert sentences(text) == [
        "Attributes control aspects of wrapping:",
        "width (default: 70) of lines",
        "rest: given. [default: 1]",
    ]
