"""Flat Avro records to bytes, quickly: what each stage does with everything that it emits.

fastavro walks the schema again for every record. A flat record (texts, whole numbers, doubles,
booleans and bytes, as almost all of ours are) is one concatenation, so the walk is made once here,
into one expression, as `dataclasses` does. The bytes are fastavro's, and what does not fit is left
to it, also to say so.
Source: Apache Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, cast

_LONG: Final = range(-2**63, 2**63)
_REMEMBERED_MAX: Final = 50_000
# Two bytes of a varint that goes on, by the 14 bits they hold.
_PAIRS: Final = [bytes((low & 127 | 128, low >> 7 | 128)) for low in range(1 << 14)]
Encode = Callable[[dict[str, Any]], bytes]
# What `encoder`'s functions raise for a record that they do not take.
UNFIT: Final = (KeyError, TypeError, ValueError, AttributeError, struct.error)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


class _Highs(dict[int, bytes]):
    """Varints of what stands above the low 14 bits: moments and offsets share it for a while."""

    def __missing__(self, number: int) -> bytes:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[number] = _varint(number)
        return self[number]


class _Whole(dict[int, bytes]):
    """The zigzag varint of a whole number; small ones are remembered."""

    def __missing__(self, number: int) -> bytes:
        if type(number) is not int or number not in _LONG:
            raise TypeError("not a 64-bit whole number")
        folded = (number << 1) ^ (number >> 63)
        if folded >> 14:
            return _PAIRS[folded & 16383] + _HIGHS[folded >> 14]
        self[number] = _varint(folded)
        return self[number]


_HIGHS: Final = _Highs()
_WHOLE: Final = _Whole()


def zigzag(number: int) -> bytes:
    """Avro's bytes of a whole number. Raises TypeError for what is none of 64 bits."""
    if 8192 <= number < 2**63:
        folded = number << 1
        return _PAIRS[folded & 16383] + _HIGHS[folded >> 14]
    return _WHOLE[number]


# How a field's bytes are written down, by its type; {n} is its number, {v} its value.
_TERMS: Final = {
    "string": "WHOLE[len(raw{n} := {v}.encode())], raw{n}",
    "bytes": "WHOLE[len(raw{n} := {v})], raw{n}",
    "int": "WHOLE[{v}]", "long": "whole({v})", "double": "double({v})", "boolean": "FLAGS[{v}]"}
_NAMES: Final = {"WHOLE": _WHOLE, "whole": zigzag, "double": struct.Struct("<d").pack,
                 "FLAGS": {False: b"\0", True: b"\1"}, "join": b"".join}


def encoder(schema: dict[str, Any], prefix: bytes) -> Encode | None:
    """A function from a record to `prefix` and its bytes; None for a schema that is not flat.

    The function raises one of `UNFIT` for a record that lacks a field (even one with a default) or
    holds what the field does not.
    """
    kinds: dict[str, Any] = {field["name"]: field["type"] for field in schema["fields"]}
    if not all(isinstance(kind, str) and kind in _TERMS for kind in kinds.values()):
        return None
    terms = [_TERMS[kind].format(n=n, v=f"record[{name!r}]")
             for n, (name, kind) in enumerate(kinds.items())]
    return cast(Encode, eval(f"lambda record: join((prefix, {', '.join(terms)}))",
                             {**_NAMES, "prefix": prefix}))
