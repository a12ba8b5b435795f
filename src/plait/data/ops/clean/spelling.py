r"""Python's spelling of regular expressions in that of Rust's engine.

What only one of them takes for a sign is written so that both mean the same: ``\<`` is a plain character in Python and
the start of a word in Rust, ``{`` may be a plain character, and in a class so are ``[``, ``&&``, ``--`` and ``~~``.
"""

from __future__ import annotations

import re

_COUNT = re.compile(r"\{(?=[\d,])(\d*)(,?)(\d*)\}")
_FUZZY = re.compile(r"\{(?=[^}]*[ides])(?:[ides](?:,[ides])*|[\d<=,+ides]*<[\d<=,+ides]*)\}")
"""How the package ``regex``, which Data-Juicer uses, writes that some errors are allowed."""
_NAMED = re.compile(r"\\[pPxuUN]\{[^{}]*\}")
_NUMBERED = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[pP][A-Z])")
_POSIX = re.compile(r"\[:\^?[a-zA-Z]+:\]")
_SETS = "dDsSwWpP"
_CONTROLS = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\f": r"\f", "\v": r"\v", "\b": r"\x08"}


def rust_pattern(pattern: str) -> str:
    r"""The pattern as Rust's engine writes it.

    What that engine cannot do (look-around, references to groups) stays as it is, for the engine to refuse.

    Raises:
        ValueError: It would take something else for it: a repetition that gives nothing back (``a++``), or one that
            allows errors (``(abc){e<=1}``).

    Example:
        >>> rust_pattern(r"\<b\>|\begin{a}|[[&&]x{,2}\Z")
        '<b>|\\begin\\{a}|[\\[\\&\\&]x{0,2}\\z'
    """
    out = list[str]()
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            text, size = _escape(pattern, at)
        elif sign == "[":
            text, size = _class(pattern, at)
        elif sign == "(" and pattern.startswith("(?#", at):
            end = pattern.find(")", at)
            text, size = "", (end + 1 if end >= 0 else len(pattern)) - at
        elif sign == "(" and pattern.startswith("(?", at):
            text, size = "(?", 2
        elif sign in "*+?{":
            text, size = _repetition(pattern, at)
        else:
            text, size = sign, 1
        out.append(text)
        at += size
    return "".join(out)


def _escape(pattern: str, at: int) -> tuple[str, int]:
    """A backslash and what it says, and how many characters that is."""
    named = _NAMED.match(pattern, at) or _NUMBERED.match(pattern, at)
    if named:
        return named[0], len(named[0])
    escaped = pattern[at + 1 : at + 2]
    if escaped in ("<", ">") or not escaped.isascii():
        return escaped, 2
    return (r"\z" if escaped == "Z" else "\\" + escaped), 2


def _repetition(pattern: str, at: int) -> tuple[str, int]:
    """A sign of repetition with the question mark after it, or a plain brace."""
    text, size = pattern[at], 1
    if text == "{":
        count = _COUNT.match(pattern, at)
        if count is None:
            fuzzy = _FUZZY.match(pattern, at)
            if fuzzy and at and pattern[at - 1] not in "(|":
                raise ValueError(f"{fuzzy[0]} would allow errors")
            return r"\{", 1
        size = len(count[0])
        low = count[1] or "0"
        text = f"{{{low},{count[3]}}}" if count[2] else f"{{{low}}}"
    after = pattern[at + size : at + size + 1]
    if after == "+":
        raise ValueError(f"{pattern[at : at + size + 1]} would give nothing back")
    return (text + "?", size + 1) if after == "?" else (text, size)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A class of characters; as it is where it does not end."""
    i = at + 1
    out = "["
    if pattern.startswith("^", i):
        out, i = "[^", i + 1
    first = i
    while i < len(pattern):
        if pattern[i] == "]" and i > first:
            return out + "]", i + 1 - at
        text, size, single = _member(pattern, i)
        i += size
        if single and pattern.startswith("-", i) and i + 1 < len(pattern) and pattern[i + 1] != "]":
            last, size, to_single = _member(pattern, i + 1)
            out += f"{text}-{last}" if to_single else rf"{text}\-{last}"
            i += size + 1
        else:
            out += text
    return pattern[at:], len(pattern) - at


def _member(pattern: str, at: int) -> tuple[str, int, bool]:
    """One member of a class, how many characters it is, and whether it is a single one."""
    posix = _POSIX.match(pattern, at)
    if posix:
        return posix[0], len(posix[0]), False
    if pattern[at] == "\\":
        if pattern.startswith(r"\b", at):
            return _CONTROLS["\b"], 2, True
        text, size = _escape(pattern, at)
        return text, size, pattern[at + 1 : at + 2] not in tuple(_SETS)
    character = pattern[at]
    if character in _CONTROLS:
        return _CONTROLS[character], 1, True
    plain = not character.isascii() or character.isalnum() or character in "_<>"
    return (character if plain else "\\" + character), 1, True
