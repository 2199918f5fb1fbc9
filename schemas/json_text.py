"""JSON texts: where one breaks and what to do about it; whole numbers that no reader keeps exactly.

Nothing here repeats a value, which may be personal: a fault names the field, and the byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

PATH_CHARS_MAX: Final = 80
BEYOND: Final = "is a whole number beyond 64 bits, which would be kept rounded; send it as text"
_SCANNED_MAX: Final = 1 << 16            # characters: a request of megabytes is not searched
_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)(?:("\s*:)|"|\\?$)|[{}\[\],]', re.DOTALL)
_NO_NUMBER: Final = re.compile(r"-?(nan|inf)", re.IGNORECASE)
_MANY: Final = b"0" * 19                 # digits of the least whole numbers beyond 64 bits
_AS_ZEROS: Final = bytes(b"0"[0] if chr(code).isdigit() else 0 for code in range(128)) + bytes(128)
_LONG: Final = re.compile(rb"(?:^|[\s:,\[])-?[0-9]{19}")
_TOO_LONG: Final = object()
_WAYS_OUT: Final = (
    # a word of the parser's message, what to say of it
    ("infinity", "is a number beyond all that a double can hold; leave the field out when the "
                 "number is unknown"),
    ("unexpected end", "ends before its object does: is it cut short? Send all of it"),
    ("after document", "goes on after its object; send one event a record"),
    ("surrogate", "holds half a surrogate pair; write the whole pair, or the character in UTF-8"),
    ("control character", "holds a bare line break, tab or other control character in a text; "
                          "write it as \\n, \\t or \\u00.."),
    ("depth", "is nested beyond the depth that is read; flatten it"),
)


def explain(body: bytes, fault: orjson.JSONDecodeError, *, before: int = 0) -> tuple[str, str]:
    """(field, what is wrong and the remedy) of a text that `orjson.loads` refused with `fault`.

    The field is the one that is open where the text breaks, as in `lines[2].price`; "" outside of
    every field. `before`: bytes of the value that stand before `body`.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        return (_path(body[:wrong.start].decode()),
                f"is not UTF-8 at byte {before + wrong.start} (0x{body[wrong.start]:02x}); write "
                "the text in UTF-8")
    at = f"at byte {before + len(text[:fault.pos].encode())}"
    found = _path(text[:fault.pos])
    # Of -Infinity the parser names the place behind the sign.
    if _NO_NUMBER.match(text, fault.pos):
        return found, (f"is no JSON number {at}: NaN and Infinity are none; leave the field out "
                       "when the number is unknown")
    for word, advice in _WAYS_OUT:
        if word in fault.msg:
            return found, f"{advice} (not valid JSON {at})"
    return found, f"is not valid JSON {at}: {fault.msg}; write it with a JSON library"


def _path(text: str) -> str:
    """The field that is open at the end of `text`, the beginning of a JSON text."""
    if len(text) > _SCANNED_MAX:
        return ""
    path: list[str | int | None] = []            # of an object a member's name, of a list its index
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in ("{", "["):
            path.append(None if sign == "{" else 0)
        elif sign in ("}", "]"):
            del path[-1:]
        elif sign == ",":
            if path:
                path[-1] = path[-1] + 1 if isinstance(path[-1], int) else None
        elif token[2] and path and path[-1] is None:
            path[-1] = token[1]
    return _shown([step for step in path[:PATH_CHARS_MAX] if step is not None])


def _shown(path: list[str | int]) -> str:
    shown = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown.removeprefix(".")[:PATH_CHARS_MAX]


def beyond(text: bytes) -> Iterator[str]:
    """Paths of the whole numbers in a valid JSON text that are beyond 64 bits: a reader makes
    doubles of them, which keep 15 to 17 digits of them and no more."""
    # Every event comes by: this takes a third of a microsecond, the search ten times that.
    if _MANY not in text.translate(_AS_ZEROS) or not _LONG.search(text):
        return iter(())
    try:
        return _found(json.loads(text, parse_int=_whole), [])
    except RecursionError:                       # nested deeper than properties may be
        return iter(())


def _whole(digits: str) -> object:
    if len(digits) > 20 or not -(1 << 63) <= int(digits) < 1 << 64:
        return _TOO_LONG
    return 0


def _found(value: Any, path: list[str | int]) -> Iterator[str]:
    if value is _TOO_LONG:
        yield _shown(path)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _found(each, [*path, name])
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _found(each, [*path, index])
