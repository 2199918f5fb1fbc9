"""The first byte tells how a value is framed: Avro single-object, Confluent, or JSON.

Sources: Avro 1.12 specification (single-object: C3 01, 8-byte fingerprint); Confluent wire format
(00, 4-byte big-endian schema id); RFC 8259 for JSON, whose first byte is a space, `{` or a BOM.
"""

from __future__ import annotations

from typing import Literal

MAGIC_SINGLE_OBJECT = b"\xc3\x01"
MAGIC_CONFLUENT = b"\x00"

Framing = Literal["single_object", "confluent", "json", "unknown"]


def split(value: bytes) -> tuple[Framing, bytes, bytes]:
    """(framing, id, body): the id is the fingerprint, the 4-byte registry id, or empty."""
    if value[:2] == MAGIC_SINGLE_OBJECT and len(value) >= 10:
        return "single_object", value[2:10], value[10:]
    if value[:1] == MAGIC_CONFLUENT and len(value) >= 5:
        return "confluent", value[1:5], value[5:]
    if value[:3] == b"\xef\xbb\xbf":
        return "json", b"", value[3:]
    if value[:1] in (b"{", b" ", b"\n", b"\r", b"\t"):
        return "json", b"", value
    return "unknown", b"", value


def frame(schema_id: int, body: bytes) -> bytes:
    """`body` in the Confluent wire format."""
    return MAGIC_CONFLUENT + schema_id.to_bytes(4, "big") + body
