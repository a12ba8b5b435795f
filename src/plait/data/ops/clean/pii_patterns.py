r"""Patterns of personal and secret data, in the syntax of Rust's linear-time engine.

``\b`` stands where that engine sees the border of a word: a combining mark belongs to the word before it.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORD = r"\p{L}\p{N}_"
_BLANK = r"\s\x1c-\x1f"
_BEFORE = rf"(^|[{_BLANK}\"'(\[=])"
_IN_PATH = rf"[^{_BLANK}\"')\]]"
_BYTE = r"(?:25[0-5]|2[0-4]\d|[01]?\d\d?)"


def _any_case(pattern: str) -> str:
    """Python takes the Turkish letters ı and İ for an i when it ignores case; Rust does not."""
    return "(?i)" + pattern.replace("i", "[iıİ]")


IPV4 = rf"(^|[^0-9.])(?:{_BYTE}\.){{3}}{_BYTE}($|[^0-9])"
"""With the characters around it, as groups: the engine cannot look without taking."""

PATTERNS: Mapping[str, str] = {
    "pem": r"(?s)-----BEGIN [A-Z0-9 -]+-----.*?-----END [A-Z0-9 -]+-----",
    "jwt": r"\beyJ[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\b",
    "url": rf"https?://[^{_BLANK}\"'<>]+",
    "ipv6": r"\[[0-9a-fA-F:.]{3,}\](?::\d{1,5})?\b",
    "mac": r"(^|[^0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b",
    "path_unix": rf"{_BEFORE}/(?:Users?|home|tmp|etc|var|opt|Applications){_IN_PATH}*",
    "path_windows": rf"{_BEFORE}[A-Za-z]:\\{_IN_PATH}*",
    "path_share": rf"{_BEFORE}\\\\{_IN_PATH}+",
    "email": rf"[a-zA-Z0-9][{_WORD}.+-]*@[{_WORD}.-]+\.(?:[a-zA-Z]{{2,}}|[{_WORD}]{{2,}})",
    "secret": _any_case(
        r"(\b(?:api[_-]?key|apikey|secret|password|passwd|token|auth|authorization|credential|license[_-]?key)"
        rf"[{_BLANK}]*[:=][{_BLANK}]*[\"']?)[^{_BLANK}\"',}}\]]+"
    ),
    "id": _any_case(
        rf"\b(session[_-]?id|user[_-]?id|request[_-]?id|trace[_-]?id)[{_BLANK}]*[:=][{_BLANK}]*[\"']?[{_WORD}.-]+"
    ),
    "channel": _any_case(
        rf"(\bchannel[{_BLANK}]*[:=][{_BLANK}]*[\"']?|当前的[{_BLANK}]*channel[{_BLANK}]*[:：][{_BLANK}]*)"
        r"(?:feishu|dingtalk|wecom|wechat_work|email|mail|飞书|钉钉|企业微信|邮箱)\b"
    ),
    "feishu_id": r"(?i)\bou_[0-9a-f]{32}\b",
    "platform_id": r"\b(?:ou_|u_|uid_)[0-9a-zA-Z_-]{16,64}\b",
    "phone_cn": r"\b1[3-9]\d{9}\b",
    "phone": rf"\+\d{{1,4}}[-.{_BLANK}]?\d{{6,14}}\b",
    "id_card": r"\b[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx]\b",
}
"""Patterns by what they find. The first group, where there is one, stays."""
