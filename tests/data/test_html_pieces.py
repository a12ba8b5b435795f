"""Long HTML in pieces has the text of the whole, and takes time in proportion to its length."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import html_pieces as module
from plait.data.html_pieces import DEEPEST, cheap, is_deep, pieces
from plait.data.ops.clean.markup import CleanHtmlMapper

lexbor = pytest.importorskip("selectolax.lexbor")

# What a tokenizer can get wrong, and what says where text goes.
FRAGMENTS = [
    "<div>", "</div>", "<p>", "</p>", "<b>", "<b id=1>", "</b>", "<i class='x>'>", "<a href=x/>", '<a"b=c>',
    "<x y = 'z", "'>", '">', "<a ='>", "<br/>", "<pre>\n", "</pre>", "<!--a<p>-->", "<!-->", "<!--", "-->", "<!x>",
    "</>", "</ x>", "<?x?>", "<script>a<b id=1></script>", "<style>p{}</style>", "<textarea>\nq", "</textarea>",
    "<title>t<b a=1>", "</title>", "<table>", "<tr>", "<td>", "</td>", "</table>", "<select>", "<option>", "</select>",
    "<template>", "</template>", "<html a=1>", "<head>", "</head>", "<body b=1>", "</body>", "<noscript>", "<form>",
    "<button>", "<h1>", "<dd>", "<dt>", "<li>", " ", "\n", "\r\n", "\x00", "x", "é", "&amp;", "&lt", "<", ">", "/", "=",
]  # fmt: skip
SVG = ["<svg>", "</svg>", "<path d='a'/>", "<math>", "<mi>", "</math>", "<font color=1>", "<font id=2>"]
RAW = ("title", "textarea", "script", "style")
DRAWINGS = [f for f in FRAGMENTS if not any(name in f for name in RAW)] + SVG
N = 500_000
NESTED = {
    "blocks": "<div>" * (N // 5),
    "closed blocks": "<div>" * (N // 11) + "</div>" * (N // 11),
    "blocks with text": "<div>a" * (N // 6),
    "lists": "<ul><li >" * (N // 9),
    "ends of nothing": "<x>" * (N // 7) + "</y>" * (N // 7),
    "tables": "<table><tr><td>x" * (N // 16),
    "in a table": "<table>" + "<div>" * (N // 5),
    "attributes": "<a " + "".join(f"a{i}=1 " for i in range(N // 9)) + ">",
    "attributes of the page": "".join(f"<html a{i}=1>" for i in range(N // 14)),
    "formatting": "".join(f"<b id={i}>" for i in range(N // 13)),
    "formatting opened again": "<p>" + "".join(f"<b id={i}>" for i in range(N // 26)) + "</p><p>x" * (N // 16),
    "not a style": "<svg><style>" + "<div>" * (N // 5),
    "not styles": "<svg>" + ("<style>" + "<div>" * 200) * (N // 1_007),
    "not plain": "<svg><plaintext>" + "<div>" * (N // 5),
    "not a textarea": "<select><textarea>" + "<div>" * (N // 5),
    "script in script": "<script><!--<script></script><!--  </script>" + "<div>" * (N // 5),
    "section": "<svg><![CDATA[ > <!-- ]]>" + "<div>" * (N // 5),
    "tag without end": "<a" + " =" * (N // 2),
    "tags without end": '<a x="' * (N // 6),
    "comment without end": "<!--" + "--" * (N // 2),
    "scripts without end": "<style></styl" * (N // 13),
    "brackets": "<" * N,
}


def whole(html: str) -> str:
    return lexbor.LexborHTMLParser(html).text()


def in_pieces(html: str) -> str:
    return "".join(whole(part) for part in pieces(html))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_a_page_without_attributes_has_the_same_text(html: str) -> None:
    assert in_pieces(html) == whole(html)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(DRAWINGS), max_size=40).map("".join))
def test_also_with_drawings(html: str) -> None:
    assert in_pieces(html) == whole(html)


HEAD = "<!doctype html>\n<html lang=en> <head>\n<title>A <b></title><script>if (1 < 2) f('<p>')</script></head>\n<body>"
BLOCKS = [
    "<div id=d>\n<p>one <b class='x'>two</b> &amp; <a href='/?a=1&b=2'>three</a>\n<p>four</div>",
    "<table border=1>\n <tr><td>1<td>\n x <tr><th>y</table> ",
    "<svg viewBox='0 0 1 1'><title>icon</title><path d='M0'/><path d='M1'/></svg>",
    "<ul>\n<li class=a>one\n<li >two<ul><li >three</ul></ul>",
    "<pre>\n\n a < b\n</pre><!-- <div> --><textarea>\n<i></textarea>",
    "<select name=s><option value=1>one<option selected>two</select>",
    "<template><p>not shown</template>",
]


@pytest.mark.parametrize("seed", range(8))
def test_cut_pages_have_the_same_text(seed: int) -> None:
    html = "".join([HEAD, *random.Random(seed).choices(BLOCKS, k=3_000), "\n</body>\n</html>\n"])
    assert len(pieces(html)) > 3
    assert in_pieces(html) == whole(html)
    assert CleanHtmlMapper().rewrite_texts([html]) == [whole(html)]


def test_cuts_stand_outside_of_tables_unless_they_are_huge(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WHOLE_TAGS": 0, "PIECE_TAGS": 2, "LONGEST_PIECE_TAGS": 6}.items():
        monkeypatch.setattr(module, name, value)
    assert pieces("<p>a<p>b<p>c") == ["<p>a<p>b", "<body><p>c"]
    assert pieces("<p><table><tr><td></table><p>c") == ["<p><table><tr><td></table>", "<body><p>c"]
    assert pieces("<table>" + "<tr><td>x" * 3) == ["<table><tr><td>x<tr><td>x<tr>", "<body><td>x"]


@pytest.mark.parametrize("kind", NESTED)
def test_nothing_makes_it_slow(kind: str) -> None:
    html = NESTED[kind]
    assert not cheap(html)
    mapper = CleanHtmlMapper()
    mapper.rewrite_texts(["<p>warm up"])
    start = time.process_time()
    mapper.rewrite_texts([html])
    assert time.process_time() - start < 2.5


def test_what_is_parsed_whole_is_soon_done() -> None:
    nested = "<div>" * (module.SHORT // 5)
    reopened = "<p>" + "".join(f"<b id={i}>" for i in range(module.FORMATTING)) + "</p><p>x" * 7_000
    for html in (nested, reopened, NESTED["formatting opened again"][: module.SHORTER]):
        assert cheap(html)
        start = time.process_time()
        assert whole(html).strip("x<>p/") == ""
        assert time.process_time() - start < 1.5
    assert not cheap("<b id=1>" * 2_000)


def test_nested_text_is_all_there() -> None:
    html = "".join(f"<div>{i} " for i in range(100_000))
    assert CleanHtmlMapper().rewrite_texts([html]) == ["".join(f"{i} " for i in range(100_000))]


@pytest.mark.parametrize(
    "html",
    [
        "<p>one<br><img>" * 5_000,
        "<ul>" + "<li>one" * 5_000,
        "<table>" + "<tr><td>1<td>2" * 5_000,
        "<div><b>one</b></div>" * 5_000,
        "<!-- <div> -->" * 5_000,
        "<script>" + "<div>" * 5_000 + "</script>",
        "<div>" * DEEPEST + "</div>" * DEEPEST,
    ],
)
def test_pages_that_people_read_are_not_deep(html: str) -> None:
    assert not is_deep(html)


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * (DEEPEST + 1),
        "<b><p>one" * 300,
        "<b></i>" * 300,  # an end of what is not open ends nothing
        "<ul><li>one" * 300,
        "<div><object></div>" * 300,
        "<p " + "a=1 " * 20_000 + ">",
    ],
)
def test_what_takes_a_parser_long_is_deep(html: str) -> None:
    assert is_deep(html)
