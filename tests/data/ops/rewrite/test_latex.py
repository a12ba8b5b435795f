from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.ops.rewrite.latex import (
    ExpandMacroMapper,
    RemoveBibliographyMapper,
    RemoveCommentsMapper,
    RemoveHeaderMapper,
)
from plait.data.ops.rewrite.latex_figures import LatexFigureContextExtractorMapper

PIECES = [
    "\\section{A}",
    "\\chapter*",
    "[x]",
    "{",
    "}",
    "\\foo",
    "\\def",
    "\\bibliography{",
    "\\appendix",
    "%c",
    "\\",
    "a",
    " ",
    "\n",
]
SOURCES = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def test_macros_are_replaced_where_they_stand_but_not_inside_longer_names():
    source = "\\newcommand{\\R}{réal}\n\\newcommand*{\\N}{a}b}\n\\R, \\Rx, \\R1, \\N."
    assert ExpandMacroMapper().rewrite_texts([source])[0].splitlines()[-1] == "réal, \\Rx, \\R1, a}b."


def test_macros_side_by_side_are_both_replaced_unless_the_bug_is_asked_for():
    source = "\\def\\a{x}\n\\a\\a\\a"
    assert ExpandMacroMapper().rewrite_texts([source])[0].endswith("\nxxx")
    assert ExpandMacroMapper(compat="data-juicer").rewrite_texts([source])[0].endswith("\nx\\a\\a")


def test_macros_that_double_each_other_leave_the_text_as_it_was():
    lines = [f"\\def\\m{chr(97 + i)}{{\\m{chr(98 + i)} \\m{chr(98 + i)} }}" for i in range(24)]
    source = "\n".join([*lines, "\\ma !"])
    assert ExpandMacroMapper().rewrite_texts([source]) == [source]


def test_texts_with_too_many_macros_stay():
    source = "".join(f"\\def\\m{i}{{v}}\n" for i in range(20)) + "\\m1 "
    assert ExpandMacroMapper(max_macros=19).rewrite_texts([source]) == [source]
    assert ExpandMacroMapper(max_macros=20).rewrite_texts([source])[0].endswith("\nv ")


def test_the_bibliography_goes_with_all_that_follows():
    texts = ["a\\begin{thebibliography}b\n", "a\\bibliography{x}b", "a\\bibliography{", "a\\appendix", "a\\begin{refs}"]
    assert RemoveBibliographyMapper().rewrite_texts(texts) == ["a", "a", "a\\bibliography{", "a", "a\\begin{refs}"]


def test_comments_go_and_the_character_before_stays():
    source = "%one\nx%two\n10\\%\ny %three"
    assert RemoveCommentsMapper().rewrite_texts([source]) == ["x\n10\\%\ny "]
    assert RemoveCommentsMapper(compat="data-juicer").rewrite_texts([source]) == ["\n10\\%\ny"]
    assert RemoveCommentsMapper(inline=False).rewrite_texts([source]) == ["x%two\n10\\%\ny %three"]
    assert RemoveCommentsMapper(multiline=False).rewrite_texts([source]) == ["%one\nx\n10\\%\ny "]


@given(st.lists(SOURCES, max_size=4))
@settings(deadline=None)
def test_headers_are_found_as_the_pattern_of_data_juicer_finds_them(sources: list[str]):
    name = r"\\(?:chapter|part|section|subsection|subsubsection|paragraph|subparagraph)\b\*?(?:\[.*?\])?\{.*?\}"
    found = [re.search(name, source, re.DOTALL) for source in sources]
    want = [source[match.start() :] if match else "" for source, match in zip(sources, found, strict=True)]
    assert RemoveHeaderMapper().rewrite_texts(sources) == want
    kept = [w if match else s for s, w, match in zip(sources, want, found, strict=True)]
    assert RemoveHeaderMapper(drop_no_head=False).rewrite_texts(sources) == kept


def test_many_figures_that_are_cited_take_linear_time():
    figure = (
        r"\begin{{figure}}\includegraphics{{a}}\label{{f{0}}}\end{{figure}}" + "\n\n" + r"see \ref{{f{0}}}" + "\n\n"
    )
    source = "".join(figure.format(number) for number in range(20_000))
    rows = LatexFigureContextExtractorMapper().apply(Batch.of_texts([source])).frame
    assert rows["citing_paragraphs"].to_list()[::5_000] == [[rf"see \ref{{f{n}}}"] for n in range(0, 20_000, 5_000)]
