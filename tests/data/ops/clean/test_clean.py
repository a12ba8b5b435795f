"""The other clean mappers by hand, and all of them on texts made to hang them."""

from __future__ import annotations

import time

import polars as pl
import pytest

from plait.core.catalog import load
from plait.data.batch import Batch
from plait.data.op import Mapper
from plait.data.ops.clean.catalog import OPS
from plait.data.ops.clean.comments import CleanCopyrightMapper
from plait.data.ops.clean.pii import PiiRedactionMapper
from plait.data.ops.clean.punctuation import PunctuationNormalizationMapper
from plait.data.ops.clean.removed_characters import RemoveNonChineseCharacterMapper, RemoveSpecificCharsMapper

EVIL = {
    "dots": "a.a.a." * 170_000,
    "parentheses": "(" * 1_000_000,
    "at": "@" * 1_000_000,
    "scheme": "http://" + "(" * 1_000_000,
    "dashes": "a-" * 250_000 + "a:b(" + "c" * 500_000,
    "local": "a" * 500_000 + "@" + "b." * 250_000,
    "colons": "a:" * 500_000,
    "www": "www." * 250_000,
    "pem": "-----BEGIN A-----" * 60_000,
    "stars": "/*" * 500_000,
    "amp": "&" * 1_000_000,
    "amps": "&" + "amp;" * 250_000,
    "digits": "1" * 1_000_000,
    "blanks": "\u3000" * 300_000 + "x",
}


def op(name: str) -> Mapper:
    found = load(OPS[name].path)
    assert isinstance(found, type)
    assert issubclass(found, Mapper)
    return found()


@pytest.mark.parametrize("name", sorted(set(OPS) - {"chinese_convert_mapper", "clean_html_mapper"}))
def test_nothing_hangs(name: str) -> None:
    mapper = op(name)
    mapper.rewrite_texts(["warm up @ www.a.b/c 中文 ‘x’"])
    for kind, text in EVIL.items():
        start = time.process_time()
        mapper.rewrite_texts([text])
        assert time.process_time() - start < 1.5, kind


@pytest.mark.parametrize("name", sorted(set(OPS) - {"chinese_convert_mapper", "clean_html_mapper"}))
def test_null_and_empty_texts(name: str) -> None:
    batch = Batch.of(pl.DataFrame({"text": [None, "", "x"]}, schema={"text": pl.String}))
    assert op(name).rewrite(batch).to_list() == ["", "", "x"]
    assert op(name).rewrite(Batch.of_texts([])).to_list() == []


def test_html() -> None:
    pytest.importorskip("selectolax")
    texts = ["  plain > text", "a<li>b</li> &amp; c", "x\r\ny", "<script>s</script>z"]
    from selectolax.lexbor import LexborHTMLParser

    listed = [text.replace("<li>", "\n*").replace("</li>", "") for text in texts]
    got = op("clean_html_mapper").rewrite_texts(texts)
    assert got == [LexborHTMLParser(text).text() for text in listed]
    assert got[:3] == ["plain > text", "a\n*b & c", "x\ny"]


def test_chinese() -> None:
    pytest.importorskip("opencc")
    assert op("chinese_convert_mapper").rewrite_texts(["汉字 abc", "plain"]) == ["漢字 abc", "plain"]


def test_copyright() -> None:
    texts = {
        "x /* COPYRIGHT\n */ y /* copyright */": "x  y /* copyright */",
        "/* other */ /* copyright */": "/* other */ /* copyright */",
        "# a\n\n// b\n-- c\ncode\n# d": "code\n# d",
        "# only\n# comments": "",
        "code": "code",
        "\n\n": "",
        "# a\n/*/": "/*/",
    }
    assert CleanCopyrightMapper().rewrite_texts(list(texts)) == list(texts.values())


def test_punctuation() -> None:
    text = ["１，。—《x》…►"]
    assert PunctuationNormalizationMapper().rewrite_texts(text) == ['１,. - "x"...-']
    assert PunctuationNormalizationMapper(compat="data-juicer").rewrite_texts(text) == ['",. - "x"...-']


def test_removed_characters() -> None:
    assert RemoveSpecificCharsMapper().rewrite_texts(["◆a|b□"]) == ["a|b"]
    assert RemoveSpecificCharsMapper(chars_to_remove=["^-]", "a"]).rewrite_texts(["a^b-c]"]) == ["bc"]
    assert RemoveSpecificCharsMapper(chars_to_remove="").rewrite_texts(["◆"]) == ["◆"]
    only = RemoveNonChineseCharacterMapper(keep_alphabet=False, keep_number=False, keep_punc=False)
    assert only.rewrite_texts(["中a1，文\n"]) == ["中文"]
    assert RemoveNonChineseCharacterMapper().rewrite_texts(["中é a1，文\n"]) == ["中 a1，文"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("1.2.3.4 5.6.7.8 9.9.9.999", "[IP_REDACTED] [IP_REDACTED] 9.9.9.999"),
        ("open /home/me/x.txt or C:\\me\\y", "open [PATH_REDACTED] or [PATH_REDACTED]"),
        ('API_KEY="abc", token: x', 'API_KEY="[REDACTED]", token: [REDACTED]'),
        ("session-id = 42", "session-id[ID_REDACTED]"),
        ("13812345678, +86 13812345678", "[PHONE_REDACTED], +86 [PHONE_REDACTED]"),
        ("当前的channel：飞书", "当前的channel：[CHANNEL_ID_REDACTED]"),
        ("a -----BEGIN KEY-----\nx\n-----END KEY----- b", "a [PEM_REDACTED] b"),
        ("eyJab.cd.ef 00:1B:44:11:3A:B7", "[JWT_REDACTED] [MAC_REDACTED]"),
        ("11010519491231002X", "[ID_CARD_REDACTED]"),
        ("https://a.b/c", "https://a.b/c"),
    ],
)
def test_personal_data(text: str, redacted: str) -> None:
    assert PiiRedactionMapper().rewrite_texts([text]) == [redacted]


def test_personal_data_settings() -> None:
    mapper = PiiRedactionMapper(mask_urls=True, mask_emails=False, extra_patterns=[("x+", r"<y>$")])
    assert mapper.rewrite_texts(["https://a.b/c j@k.lm xx"]) == ["[URL_REDACTED] j@k.lm <y>$"]


def test_personal_data_in_other_fields() -> None:
    call = {"function": {"arguments": "mail c@d.ef"}}
    row = {
        "text": "a@b.cd",
        "query": "a@b.cd",
        "other": "a@b.cd",
        "path": "/home/x",
        "messages": [{"role": "user", "content": "hi a@b.cd", "tool_calls": [call]}],
        "meta": {"file": "/tmp/x", "note": "/tmp/x"},
    }
    mail = "[EMAIL_REDACTED]"
    out = PiiRedactionMapper().apply(Batch.of(pl.DataFrame([row]))).frame.drop("__row").to_dicts()[0]
    assert out == {
        "text": mail,
        "query": mail,
        "other": "a@b.cd",
        "path": "[PATH_REDACTED]",
        "messages": [
            {"role": "user", "content": f"hi {mail}", "tool_calls": [{"function": {"arguments": f"mail {mail}"}}]}
        ],
        "meta": {"file": "[PATH_REDACTED]", "note": "/tmp/x"},
    }
