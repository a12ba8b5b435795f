"""``.json`` files as lines: an array of records, records one after the other, or lines that are named so."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator

from plait.data.read.cut import unpacked
from plait.data.read.file import File
from plait.data.read.lines import LineBytes
from plait.data.read.settings import Settings
from plait.errors import DataError

_WINDOW = 1 << 20
_BETWEEN = re.compile(r"[\s,]*")
_UNIT = "record "


def is_lines(file: File) -> bool:
    """Whether the first line that is not blank is a whole record, so that the file is lines whatever its name says."""
    with file.open() as stream:
        head = stream.read(1 << 20).removeprefix(codecs.BOM_UTF8).lstrip()
    if not head.startswith(b"{"):
        return False
    try:
        json.loads(head.split(b"\n")[0])
    except ValueError:
        return False
    except RecursionError:
        return True  # one line holds all that nesting
    return True


def array_blocks(file: File, settings: Settings, block_bytes: int) -> Iterator[LineBytes]:
    """The records of an array, or of a row of records, as lines in blocks.

    Raises:
        DataError: The file is no JSON from some place on, or an element is longer than a line may be.
    """
    first, held, size = 1, list[bytes](), 0
    for element in _elements(file, settings.max_line_bytes):
        # Line ends inside an element stand between its parts, never in its texts.
        line = element.replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape") + b"\n"
        held.append(line)
        size += len(line)
        if size >= block_bytes:
            yield LineBytes(file, first, b"".join(held), (), settings, _UNIT)
            first += len(held)
            held, size = [], 0
    if held:
        yield LineBytes(file, first, b"".join(held), (), settings, _UNIT)


def array_head(file: File, limit: int) -> bytes:
    """The first records as lines, to learn the columns from."""
    held, size = list[bytes](), 0
    for element in _elements(file, limit):
        held.append(element.replace("\r", " ").replace("\n", " ").encode("utf-8", "surrogateescape"))
        size += len(held[-1])
        if size >= _WINDOW:
            break
    return b"\n".join(held)


def _elements(file: File, limit: int) -> Iterator[str]:
    scan = json.JSONDecoder(strict=False).raw_decode
    # Bytes that are no UTF-8 pass through, so that only their record is found bad.
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    pieces = unpacked(file)
    text, at, ended, count = "", 0, False, 0
    in_array: bool | None = None
    while True:
        at = _BETWEEN.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess] -- matches the empty text
        if in_array is None and at < len(text):
            in_array = text[at] == "["
            at += in_array
            continue
        if in_array and at < len(text) and text[at] == "]":
            return
        if at < len(text):
            try:
                _, end = scan(text, at)
            except ValueError as error:
                if ended or len(text) - at > limit:
                    raise _not_json(file, count + 1) from error
            except RecursionError as error:
                raise _not_json(file, count + 1, "nested too deep to be read") from error
            else:
                # A number at the end of what was read may go on.
                if end < len(text) or ended:
                    yield text[at:end]
                    count += 1
                    at = end
                    continue
        elif ended:
            if in_array:
                raise _not_json(file, count + 1)
            return
        text, at = text[at:], 0
        grown = list[str]()
        wanted = max(_WINDOW, len(text))
        while wanted > 0 and not ended:
            piece = next(pieces, None)
            ended = piece is None
            grown.append(decode(piece or b"", final=ended))
            wanted -= len(piece or b"")
        text += "".join(grown)


def _not_json(file: File, number: int, problem: str = "not JSON") -> DataError:
    return DataError(
        f"record {number} is {problem}, so what follows cannot be read",
        code="data.damaged",
        where=str(file.path),
        hint="the file was cut off or damaged; one record a line (.jsonl) survives that",
    )
