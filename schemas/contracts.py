"""The contracts: one `.avsc` beside this file for every topic, parsed once.

A record on an internal topic is Avro single-object encoding: two marker bytes, the CRC-64-AVRO
fingerprint of the writer's schema (8 bytes, little-endian), the binary record. No registry needed.
Source: Apache Avro 1.12 specification, "Single-object encoding" and "Schema Fingerprints".

A contract grows at its end, by fields with defaults: `"earlier": [7]` in the schema says that there
was a version of its first seven fields. Records of such a version are read like the newest.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro

from schemas.encoding import UNFIT, Encode, encoder
from schemas.framing import MAGIC_SINGLE_OBJECT

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contract:
    """One schema with its codec. `name` is the topic it belongs to (or `watermark`)."""

    name: str
    source: dict[str, Any]

    @cached_property
    def parsed(self) -> Any:
        return fastavro.parse_schema(self.source)

    @cached_property
    def fingerprint(self) -> bytes:
        canonical = fastavro.schema.to_parsing_canonical_form(self.source)
        return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))

    @cached_property
    def prefix(self) -> bytes:
        return MAGIC_SINGLE_OBJECT + self.fingerprint

    @cached_property
    def fields(self) -> dict[str, dict[str, Any]]:
        return {field["name"]: field for field in self.source["fields"]}

    @cached_property
    def _earlier(self) -> dict[bytes, tuple[Any, dict[str, Any]]]:
        """Prefix -> (schema, what its records lack) of the versions before this one."""
        found = {}
        for count in self.source.get("earlier", ()):
            kept, grown = self.source["fields"][:count], self.source["fields"][count:]
            old = Contract(self.name, {**self.source, "fields": kept, "earlier": []})
            # Avro writes the default of bytes as a text, one character a byte.
            lacks = {field["name"]: field["default"].encode("latin-1")
                     if field["type"] == "bytes" else field["default"] for field in grown}
            found[old.prefix] = old.parsed, lacks
        return found

    @cached_property
    def _fast(self) -> Encode | None:
        return encoder(self.source, self.prefix)

    def encode_body(self, record: dict[str, Any]) -> bytes:
        """The bare Avro binary of `record`, without a frame."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.parsed, record)
        return out.getvalue()

    def encode(self, record: dict[str, Any]) -> bytes:
        """`record` in single-object encoding.

        Raises ValueError or TypeError when a field is missing or has the wrong type.
        """
        if self._fast is not None:
            try:
                return self._fast(record)
            except UNFIT:
                pass
        return self.encode_plainly(record)

    def encode_plainly(self, record: dict[str, Any]) -> bytes:
        """`encode` by fastavro alone."""
        out = io.BytesIO()
        out.write(self.prefix)
        fastavro.schemaless_writer(out, self.parsed, record)
        return out.getvalue()

    def decode(self, value: bytes) -> dict[str, Any]:
        """The record in a single-object `value` of this contract; ValueError otherwise."""
        prefix, body = value[:len(self.prefix)], value[len(self.prefix):]
        if prefix == self.prefix:
            return self.decode_body(body)
        if prefix not in self._earlier:
            raise ValueError(f"not a {self.name} record: the fingerprint is another schema's")
        parsed, lacks = self._earlier[prefix]
        return {**self._read(body, parsed), **lacks}

    def decode_body(self, body: bytes) -> dict[str, Any]:
        """The record in bare Avro binary; ValueError when bytes are missing or left over."""
        return self._read(body, self.parsed)

    @staticmethod
    def _read(body: bytes, parsed: Any) -> dict[str, Any]:
        stream = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(stream, parsed, None)
        except (EOFError, IndexError, UnicodeDecodeError, OverflowError, MemoryError,
                TypeError, KeyError) as fault:
            raise ValueError(f"broken Avro: {type(fault).__name__} {fault}") from None
        if stream.read(1):
            raise ValueError("broken Avro: bytes are left over after the record")
        if not isinstance(record, dict):
            raise ValueError("broken Avro: not a record")
        return record

    def is_mine(self, value: bytes) -> bool:
        return value.startswith(self.prefix) or (
            bool(self._earlier) and value[:len(self.prefix)] in self._earlier)


def _load() -> dict[str, Contract]:
    found = {}
    for path in sorted(HERE.glob("*.avsc")):
        found[path.stem] = Contract(path.stem, json.loads(path.read_text("utf-8")))
    return found


CONTRACTS: dict[str, Contract] = _load()


def contract(name: str) -> Contract:
    return CONTRACTS[name]
