"""Which output formats may be streamed chunk by chunk, and what must be cut between the chunks.

The engine writes each chunk of a streamed result as a document of its own. Formats without any
frame can simply be put in a row; those with names and types on top repeat them with every chunk;
all others are built whole.
"""

from __future__ import annotations

import re

DEFAULT = "TabSeparated"
_FRAMELESS = frozenset((
    "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary", "Native", "TSKV",
    "JSONEachRow", "NDJSON", "JSONLines", "JSONCompactEachRow", "JSONStringsEachRow",
    "JSONCompactStringsEachRow", "LineAsString", "RawBLOB", "MsgPack", "Null"))
_HEADED = frozenset(
    base + tail for base in ("TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary",
                             "JSONCompactEachRow", "JSONCompactStringsEachRow")
    for tail in ("WithNames", "WithNamesAndTypes"))
# Anything that adds to the rows something which belongs to the result as a whole.
_WHOLE_RESULT = re.compile(rb"totals|extremes|json_array_of_rows|limit_by_header", re.IGNORECASE)
_TYPES = {
    "RowBinary": "application/octet-stream", "Native": "application/octet-stream",
    "JSON": "application/json; charset=UTF-8", "XML": "application/xml; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "Arrow": "application/octet-stream", "Parquet": "application/octet-stream",
    "Avro": "application/octet-stream", "ORC": "application/octet-stream",
    "MsgPack": "application/octet-stream", "Protobuf": "application/octet-stream",
}


def streamable(output: str, sql: bytes, settings: dict[str, str]) -> bool:
    """Whether the chunks of such a result can be put in a row."""
    said = sql + b" " + " ".join(settings).encode()
    return output in _FRAMELESS | _HEADED and _WHOLE_RESULT.search(said) is None


def content_type(output: str) -> str:
    if output.startswith("CSVWithNames"):
        return "text/csv; charset=UTF-8; header=present"
    if output.startswith("JSON") and "EachRow" in output:
        return "application/x-ndjson; charset=UTF-8"
    best = max((base for base in _TYPES if output.startswith(base)), key=len, default="")
    return _TYPES.get(best, "text/plain; charset=UTF-8")


def header_bytes(output: str, chunk: bytes) -> int:
    """Length of the names (and types) at the top of a chunk; 0 for formats without any."""
    if output not in _HEADED:
        return 0
    lines = 2 if output.endswith("AndTypes") else 1
    if output.startswith("RowBinary"):
        return _binary_header(chunk, lines)
    at = 0
    for _ in range(lines):
        at = _line_end(chunk, at, quoted=output.startswith("CSV"))
    return at


def _binary_header(chunk: bytes, rounds: int) -> int:
    count, at = _varint(chunk, 0)
    for _ in range(count * rounds):
        size, at = _varint(chunk, at)
        at += size
    return at


def _varint(chunk: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = chunk[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _line_end(chunk: bytes, at: int, *, quoted: bool) -> int:
    """Just after the line feed that ends the line; one inside CSV quotes does not."""
    while True:
        end = chunk.find(b"\n", at) + 1
        if end == 0:
            return len(chunk)
        if not quoted or chunk.count(b'"', 0, end) % 2 == 0:
            return end
        at = end
