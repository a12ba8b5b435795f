from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from plait.errors import LLMError, StrandError
from plait.plan.experts import Answer, Calculator, Lookup, Writer, values
from plait.plan.plan import SubTask
from plait.plan.search import Library
from plan_scripts import Talker

DOCUMENTS = [
    {
        "id": "ftplib.FTP.retrbinary",
        "text": "Reads.\n\n  blocksize: Bytes at one time. [default: 8192]\n\n  mode: 'rb'.",
    },
    {"id": "bz2.open", "text": 'The default mode is "rb", and the default compresslevel is 9.'},
    {"id": "this", "text": "Beautiful is better than ugly."},
]


def look_up(task: str, *, sentence: int = 1, numeric: bool = False) -> Answer:
    expert = Lookup(Library(DOCUMENTS), Talker(sentence=sentence))
    return asyncio.run(expert.answer(SubTask(id=1, task=task, expert="lookup"), numeric=numeric))


def test_a_fact_is_quoted_with_its_source() -> None:
    found = look_up("the default blocksize of ftplib.FTP.retrbinary")
    assert (found.value, found.source) == ("8192", "ftplib.FTP.retrbinary")
    assert found.text == "blocksize: Bytes at one time. [default: 8192]"


def test_the_model_can_only_choose_what_is_there() -> None:
    talker = Talker()
    expert = Lookup(Library(DOCUMENTS), talker)
    schemas: list[object] = []
    talker_chat = talker.chat

    async def chat(messages: object, **asked: object) -> object:
        schemas.append(asked["schema"])
        return await talker_chat(messages, **asked)

    talker.chat = chat
    for numeric in (False, True):
        asyncio.run(expert.answer(SubTask(id=1, task="default compresslevel of bz2.open", expert="l"), numeric=numeric))
    first = [s["anyOf"][0]["properties"] for s in schemas]
    assert first == [
        {"sentence": {"const": 1}, "value": {"enum": ["9", "rb"]}},
        {"sentence": {"const": 1}, "value": {"enum": ["9"]}},
    ]


def test_a_fact_without_a_value_is_its_sentence() -> None:
    found = look_up("what is better than ugly, beautiful")
    assert (found.text, found.value, found.source) == ("Beautiful is better than ugly.", "", "this")


def test_nothing_found_is_said() -> None:
    with pytest.raises(StrandError, match="answers 'zebra'"):
        look_up("zebra")
    with pytest.raises(StrandError, match="with a number"):
        look_up("beautiful ugly", numeric=True)


def compute(task: str, *needed: Answer, expression: Callable[[Sequence[str]], str] | None = None) -> Answer:
    sub_task = SubTask(id=2, task=task, expert="calculator", dep=tuple(range(1, len(needed) + 1)))
    return asyncio.run(Calculator(Talker(expression=expression)).answer(sub_task, *needed))


def test_a_computation_is_exact_and_shows_its_working() -> None:
    seventy = Answer("width 70", "70")
    assert compute("Compute 12 times it", seventy) == Answer("70 * 12 = 840", "840", working="70 * 12")
    assert compute("Add 0.2", Answer("a tenth: 0.1", "0.1"), expression=" + ".join).value == "0.3"
    assert compute("Add twelve", Answer("-5", "-5"), expression=" + ".join).value == "7"
    assert compute("What is 12 times 12", expression=lambda o: f"{o[0]} * {o[0]}").value == "144"


def test_a_reference_to_a_sub_task_is_no_number() -> None:
    assert compute("Multiply the answer of sub-task 1 by 3", Answer("4", "4")).working == "4 * 3"


def test_an_expression_that_leaves_a_number_out_is_refused() -> None:
    with pytest.raises(StrandError, match="leaves out 12"):
        compute("12 times it", Answer("70", "70"), expression=lambda o: f"{o[0]} + {o[0]}")


def test_text_cannot_be_computed_with() -> None:
    with pytest.raises(StrandError, match="no single number"):
        compute("12 times it", Answer("the mode is rb", "rb"))


def test_an_answer_cut_in_the_middle_is_an_error() -> None:
    class Cut(Talker):
        def _answer(self, schema: object) -> str:
            return '{"expr'

    with pytest.raises(LLMError, match="not whole JSON"):
        asyncio.run(Calculator(Cut()).answer(SubTask(id=1, task="3 times 4", expert="calculator")))


def write(text: str) -> Answer:
    needed = Answer("12 * 70 = 840", "840")
    return asyncio.run(Writer(Talker(text=text)).answer(SubTask(id=3, task="Say it", expert="w", dep=(2,)), needed))


def test_a_sentence_may_hold_no_new_number() -> None:
    assert write(" There are 840\n characters. ").text == "There are 840 characters."
    assert write("They are many.").value == ""
    with pytest.raises(StrandError, match="it has 841"):
        write("There are 841 characters.")
    with pytest.raises(StrandError, match="it is empty"):
        write("  ")


def test_values_of_a_sentence() -> None:
    assert values("a 'b c', 'd', \"7\", `e` and 1,000 and 7") == ["1000", "7", "d", "e"] or values("'d' 7") == [
        "7",
        "d",
    ]
    assert values("'d' 7", numeric=True) == ["7"]
