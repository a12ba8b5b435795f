"""Texts on which implementations part: written by hand, and made by hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BY_HAND = (
    "",
    " ",
    "\n",
    "\t \n\r\n \u3000",
    "a",
    "\x00",
    "nul\x00inside a text\x00",
    "no final newline",
    "one final newline\n",
    "two final newlines\n\n",
    "carriage\r\nreturns\r\neverywhere\r\n",
    "old\rmacintosh\rlines",
    "every\x0bkind\x0cof\x1cline\x1dend\x1eof\x85them\u2028all\u2029here",
    "\x1c\x1d\x1e\x1f stripped by Python alone \x1f\x1e\x1d\x1c",
    "zero\u200bwidth\u200cblanks\u200d and\u2060joiners\ufeff and \ufffc \u2009thin\u00a0spaces\u1680ogham\u180e",
    "\u200b starts and ends with nothing \u200b",
    # letters: case folding, context, length changes
    "ΣΊΣΥΦΟΣ ΟΔΥΣΣΕΥΣ Σ ΑΣ. σς",
    "İstanbul Iğdır ıssız İİİ",
    "STRASSE straße STRAẞE ﬁne ﬂow ŉ ǰ ΐ",
    "ǅ ǈ ǋ ǲ titlecase Ⓜ ⓜ Ⅷ ⅷ K Å ſ",
    "Ꭰ ꭰ Ა ა 𐐀 𐐨 𞤀 𞤢 outside the basic plane",
    "é é combining ȩ́ ạ̈ t͡s n̈ naïve naïve",
    "한국어 문장 한국 자모 ㄱㄴㄷ",
    "日本語の文章です。カタカナとひらがな、漢字を含みます。半角ｶﾅ 全角ＡＢＣ１２３！？",
    "中文文本：“引号”、《书名》。数字一二三，１２３；繁體字與簡體字。電腦軟體",
    "هذا نص عربي، مع أرقام ٠١٢٣٤٥٦٧٨٩ وتشكيل مُحَمَّد؟ \u202bعكس\u202c",
    "זהו טקסט בעברית עם ניקוד שָׁלוֹם וגם English ו־123",
    "यह एक हिन्दी वाक्य है। क्षत्रिय ज्ञान १२३",
    "ภาษาไทยไม่มีช่องว่างระหว่างคำ ๑๒๓",
    "Привет, мир! Ёлка, Їжак, Ўзбекистон. Г Д Ж",
    "①②③ ½ ¼ ² ³ ₁ ₂ Ⅳ ⅳ ㊀ 〇 𝟘𝟙𝟚 𝐀𝐁 ٣ ৪ ௧ 𑁦",
    "ªº ʰʲ ˀ ː ˈ ᵃ ᴬ ⁿ",
    # emoji
    "😀 😃 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☕️ 1️⃣ #️⃣ ©️ ™️ 🫠 🫨 🩷",
    "😀" * 200,
    "text with one 🎉 emoji",
    # special characters and marks
    "!@#$%^&*()_+-=[]{}|;':\",./<>?`~",
    "“quotes” ‘single’ „low“ «guillemets» ‹single› — – ‒ ― ‐ ‑ … · • ● ■ ◆ ► ▼ ▲ ▴ ∆ ▻ ▷ ❖ ♡ □ |",
    "，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％►",
    "1 2 3 4 5 6 7 8 9 0 10,000 3.14 -7 1e-5 0x1F",
    "₤ € £ ¥ ₿ § ¶ † ‡ ° ± × ÷ ≤ ≥ ≠ ∞ √ ∑ ∫",
    # mojibake and entities
    "cafÃ© â€œquotesâ€\x9d itâ€™s â€” Ã¼ber ÐŸÑ€Ð¸Ð²ÐµÑ‚ ãƒ†ã‚¹ãƒˆ",
    "&lt;p&gt; &amp;amp; &eacute; &#233; &#x1F600; &nbsp; &notanentity; &amp",
    "<p>tags &amp; entities &lt;b&gt;</p>",
    "ﬁ ligatures ﬂ ％ fullwidth ＡＢＣ and \x1b[31mred\x1b[0m \ufeffBOM \ud7ff \ue000 \uffff \ufffd",
    "\u0085 \u0081 \u008d c1 controls \u009f",
    # addresses
    "Write to john.doe+tag@example.co.uk, JANE@EXAMPLE.COM, a@b, a@b.c, x_y@sub-domain.example.org.",
    "@handle user@ @host.com two@@at.com a.@b.com .a@b.com ünï@cödé.de mail:me@x.io;you@y.io",
    "http://example.com https://www.example.org/a/b?c=d&e=f#g ftp://files.example.net/x.tar.gz www.test.com",
    "See (http://en.wikipedia.org/wiki/Foo_(bar)) and <https://x.y/z>, \"http://quoted.com/\".",
    "example.com/path sub.example.museum/x a.b/c HTTP://UPPER.COM/ mailto:me@x.com tel:123 data:text/plain,hello",
    "http://日本語.jp/パス https://münchen.de/straße?ü=1 http://[::1]:80/ http://1.2.3.4:8080/x",
    "http:// www. :// / // a:/b C:\\Windows\\x file:///etc/passwd magnet:?xt=urn http://a.b http://a.bc/d).",
    "192.168.0.1 10.0.0.256 1.2.3.4.5 255.255.255.255 0.0.0.0 01.02.03.04 1.2.3 v1.2.3.4-rc 999.1.1.1 x1.2.3.4y",
    "fe80:0000:0000:0000:0202:b3ff:fe1e:8329 2001:db8::1 ::1 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:8:9 A:B:C:D:E:F:A:B",
    "call +1 (555) 123-4567 or 0800 555 123; card 4111 1111 1111 1111; iban DE89370400440532013000",
    "AKIAIOSFODNN7EXAMPLE sk-abcdefghijklmnopqrstuvwxyz123456 ghp_abcdefghijklmnopqrstuvwxyz0123456789 token=abc123",
    "password: hunter2 /home/alice/secret.txt C:\\Users\\bob\\file.doc ~/x 00:1A:2B:3C:4D:5E",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
    # markup
    "<html><head><title>T</title></head><body><p>One</p><ul><li>a</li><li>b</li></ul><ol><li>1</li></ol></body></html>",
    "<script>var x = '<p>no</p>';</script><style>p { }</style>text<!-- comment --><br/>after<br>more",
    "a < b and b > c, <notatag, </closed>, <p unclosed, x<y>z",
    "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>",
    "# Heading\n\nSome *markdown* with `code`.\n\n- item\n- item\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "a  b  c\n1  2  3\n4  5  6\n\nx\ty\tz\n7\t8\t9\n",
    "name   age   city\nbob    42    rome\nann    37    oslo\n\nnot a table\n",
    "one two\nthree four\nfive  six\nseven  eight\n",
    # LaTeX
    "\\documentclass{article}\n\\newcommand{\\x}{value}\n\\def\\y{other}\n"
    "\\begin{document}\n\\section{One}\n\\x and \\y.\n"
    "% a comment\ntext % inline\n100\\% sure\n\\bibliography{refs}\nafter\n\\end{document}\n",
    "\\chapter{A}\ntext\n\\appendix\nmore\n\\begin{thebibliography}{9}\n\\bibitem{x} X\n\\end{thebibliography}\n",
    "\\section*{Starred}\n\\subsection[short]{long}\n\\paragraph{p}\n\\begin{references}\n\\end{references}",
    "%only a comment\n%another\n",
    "\\newcommand{\\a}[1]{#1} \\newcommand{\\b}{\\a{x}} \\renewcommand{\\c}{d} \\b\\a \\bb \\c",
    # code
    "/* Copyright 2020 Someone. All rights reserved. */\nint main(void) { return 0; }\n",
    "/* A comment. */\n/* COPYRIGHT too */\nint x;\n",
    "// Licensed under MIT\n// more\n\nint x;\n",
    "# -*- coding: utf-8 -*-\n# Copyright\n\nimport os\n# kept\n",
    "-- a header in SQL\n-- more\nselect 1;\n-- kept",
    "/* unclosed copyright\nint x;",
    "#!/bin/sh\n\n\n",
    # repetition
    "a" * 9,
    "a" * 10,
    "a" * 11,
    "ab" * 500,
    "the same line\n" * 40,
    "word " * 200,
    " ".join(f"w{i % 11}" for i in range(400)),
    "Same sentence here. Same sentence here. Another one! Same sentence here? Short. Short.\nSame sentence here.",
    "这是一个句子。这是一个句子。另一个句子！这是一个句子？",
    # words
    "  leading and trailing  ",
    "double  spaces   and\ttabs\t\tand\n\nlines",
    "(brackets) [all] {around}, \"quoted\" 'words'; end.",
    "--- *** ... !!! ???",
    "a-b a_b a'b a.b a/b a\\b",
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogoch " + "x" * 60 + " short " + "-" * 60,
    "http://x.com www.y.z click.com href=q //c plain words .com",
    "The quick brown fox jumps over the lazy dog. It was the best of times, it was the worst of times.",
    "ＴＨＥ fullwidth words and The THE the",
    # size
    "x" * 1_000_000,
    "many words in one very long line " * 31_000,
    ("A line of fifty characters or so, to make many." + "\n") * 20_000,
    "é" * 300_000 + " end",
)  # fmt: skip


def every_character() -> list[str]:
    """All characters that mean something, 256 to a text."""
    blocks = (*range(0, 0x20000, 256), *range(0xE0000, 0xE0200, 256))
    texts = ("".join(chr(c) for c in range(b, b + 256) if not 0xD800 <= c < 0xE000) for b in blocks)
    return [text for text in texts if text]


def made(count: int) -> list[str]:
    """Texts from hypothesis, always the same: any characters, and pieces that operations look for."""
    pieces = st.sampled_from(
        ["http://", "www.", ".com", "@", "\n", "\r\n", " ", "\t", "  ", "/*", "*/", "copyright", "%", "\\section{", "}",
         "<li>", "</p>", "&amp;", "1.2.3.4", "::", "Ã©", "’", "“", "\u3000", "\u200b", "ſ", "İ", "Σ", "ﬁ", "é", "字",
         "😀",
         "#", "//", "--", "|", "word", "Word", "WORD", "a", "0", ".", "!", "。", "\\newcommand{\\x}{", "\x00", "\x85"]
    )  # fmt: skip
    characters = st.characters(exclude_categories=["Cs"])
    some = st.one_of(
        st.text(characters, max_size=60),
        st.lists(pieces, max_size=40).map("".join),
        st.lists(st.one_of(pieces, st.text(characters, min_size=1, max_size=5)), max_size=30).map("".join),
        st.lists(st.text(st.characters(codec="ascii"), max_size=12), max_size=30).map(" ".join),
    )
    texts = list[str]()

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(some)
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    return texts
