"""Intent: the offset range that is about to be inserted, written to Kafka before the insert.

It stands in the metadata of the group's commit at `first`. Whoever owns the partition next finds it
there, re-reads exactly first..last, and inserts the same block under the same token, so that
ClickHouse drops it if it is in already. Without the range a re-formed batch would end elsewhere and
carry another token.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Where(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Arrival(NamedTuple):
    """One record as Kafka handed it over. `value` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    appended_ms: int

    @property
    def where(self) -> Where:
        return Where(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class Intent:
    """first, last   offsets, both inside
    count         records between them when it was written (compaction may thin them out)
    crc           checksum of their offsets and values
    schema        fingerprint of the contract they were decoded with, hex; part of the token, so
                  that a new version of us repeats the old insert instead of making another
    topic_id      Kafka's id of the topic; an intent of a deleted topic means nothing
    """

    first: int
    last: int
    count: int
    crc: int
    schema: str
    topic_id: str

    def to_metadata(self) -> str:
        return json.dumps({"v": 1, "first": self.first, "last": self.last, "n": self.count,
                           "crc": self.crc, "schema": self.schema, "topic_id": self.topic_id},
                          separators=(",", ":"))

    @staticmethod
    def of_metadata(text: str | None) -> Intent | None:
        """The intent in a commit's metadata, or None when there is none of ours."""
        if not text:
            return None
        try:
            told = json.loads(text)
            return Intent(int(told["first"]), int(told["last"]), int(told["n"]),
                          int(told["crc"]), str(told["schema"]), str(told["topic_id"]))
        except (ValueError, KeyError, TypeError):
            return None

    def token(self, where: Where, first: int | None = None, last: int | None = None) -> str:
        """Deduplication token of the whole range, or of the part of it from `first` to `last`."""
        whole = first is None or last is None
        span = f"{self.first}-{self.last}" if whole else f"{first}-{last}/part"
        return f"{where.topic}:{self.topic_id}/{where.partition}/{span}/{self.schema}"


def checksum(records: Iterable[Arrival]) -> int:
    """CRC-32 over offsets and values, in order."""
    crc = 0
    for record in records:
        crc = zlib.crc32(record.offset.to_bytes(8, "big"), crc)
        crc = zlib.crc32(record.value or b"", crc)
    return crc
