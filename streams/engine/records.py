"""What goes into a stage and what comes out of it, free of any Kafka client.

A `Record` is one message of a topic. A stage answers with emissions; `Out` collects and stamps
each with its *origin*: (partition, offset, sequence) of the input record that caused it. A crash
and replay makes the same emissions with the same origins, so a reader can tell a repeat: the
first one wins everywhere downstream (`Seen`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from schemas import contract
from streams.kernel import ids

Numbers = npt.NDArray[np.int64]


class Record(NamedTuple):
    """One message as it stood in a topic. `appended_ms` is the broker's or producer's timestamp."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    appended_ms: int


class Stretch(Sequence[Record]):
    """Records of one partition in the order of their offsets, as columns.

    A `Record` is made only when one is asked for; what works on whole batches takes the columns.
    """

    __slots__ = ("_record", "offsets", "partition", "topic", "values")

    def __init__(self, topic: str, partition: int, offsets: list[int], values: list[bytes],
                 record: Callable[[int], Record]) -> None:
        assert len(offsets) == len(values) > 0
        self.topic, self.partition, self.offsets = topic, partition, offsets
        self.values, self._record = values, record

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, at: int) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> list[Record]: ...
    def __getitem__(self, at: int | slice) -> Record | list[Record]:
        if isinstance(at, slice):
            return [self._record(n) for n in range(*at.indices(len(self)))]
        return self._record(at if at >= 0 else at + len(self))


def columns_of(records: Sequence[Record]) -> tuple[list[int], list[bytes]]:
    """(offsets, values) of records of one partition."""
    if isinstance(records, Stretch):
        return records.offsets, records.values
    return [r.offset for r in records], [r.value for r in records]


class Emission(NamedTuple):
    """One message to produce. `partition` None: by murmur2 of the key; `value` None: tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int | None = None


@dataclass(slots=True)
class Out:
    """Collects the emissions of a walk over one partition's batch."""

    stage: str
    now_ms: int
    emissions: list[Emission] = field(default_factory=list)
    _record: Record | None = None
    _sequence: int = 0

    def at(self, record: Record) -> None:
        """From here on, emissions are caused by `record`."""
        self._record = record
        self._sequence = 0

    def emit(self, topic: str, key: str, fields: dict[str, Any], *, partition: int | None = None,
             schema: str = "") -> None:
        """Emit `fields` to `topic` under `schema` (default: the topic's own contract).

        Contracts that have origin_* fields get them filled in here.
        """
        kind = contract(schema or topic)
        if "origin_offset" in kind.fields and "origin_offset" not in fields:
            fields = fields | self._origin(fields)
        self.emissions.append(Emission(topic, key.encode(), kind.encode(fields), partition))

    def _origin(self, fields: dict[str, Any]) -> dict[str, int]:
        """The current record's address and the next sequence number.

        Only what is caused by no record (an idle partition's watermark) may name its partition
        itself and have offset -1; readers take such records by their content, not their origin.
        """
        if self._record is None:
            assert "origin_partition" in fields, "call at(record) before emit"
            return {"origin_offset": -1, "origin_sequence": 0}
        sequence = self._sequence
        self._sequence += 1
        return {"origin_partition": self._record.partition, "origin_offset": self._record.offset,
                "origin_sequence": sequence}

    def alone(self) -> dict[str, int]:
        """Origin fields for the only emission of its kind that the current record causes: however
        many others it caused before, as other definitions may make it cause more or fewer."""
        assert self._record is not None, "call at(record) first"
        return {"origin_partition": self._record.partition, "origin_offset": self._record.offset,
                "origin_sequence": 0}

    def refuse(self, outcome: str, reason: str, *, subject: str = "", field: str = "",
               detail: str = "", tenant: str = "", source: str = "", event_id: str = "",
               profile_id: str = "", decision_id: str = "", playbook: str = "",
               event_ms: int = 0) -> None:
        """Record why something did not go on. `outcome`: refused, duplicate, skipped;
        late, when it went on without a part of what is made of it; clamped, when it went on with
        another value in `field` than it said.

        `subject` tells several refusals of one record apart (a playbook's name, for instance).
        """
        record = self._record
        assert record is not None, "call at(record) before refuse"
        self.emit("refusals.recorded", profile_id or tenant or record.topic, {
            "refusal_id": ids.derive("refusal", self.stage, record.topic, record.partition,
                                     record.offset, reason, subject),
            "stage": self.stage, "outcome": outcome, "reason": reason, "field": field,
            "detail": detail[:500], "tenant": tenant, "source": source, "event_id": event_id,
            "profile_id": profile_id, "decision_id": decision_id, "playbook": playbook,
            "topic": record.topic, "partition": record.partition, "offset": record.offset,
            "event_ms": event_ms, "recorded_ms": self.now_ms})

    def quarantine(self, reason: str, *, field: str = "", detail: str = "") -> None:
        """Keep the current record's bytes aside with the reason."""
        record = self._record
        assert record is not None, "call at(record) before quarantine"
        self.emit("events.quarantined", record.topic, {
            "quarantine_id": ids.derive("quarantine", record.topic, record.partition,
                                        record.offset),
            "stage": self.stage, "reason": reason, "field": field, "detail": detail[:500],
            "topic": record.topic, "partition": record.partition, "offset": record.offset,
            "appended_ms": record.appended_ms, "recorded_ms": self.now_ms,
            "key": record.key, "payload": record.value}, partition=record.partition)


class Seen:
    """High-water marks of origins: tells a repeated emission from a fresh one.

    An upstream worker emits into one partition in the order of its own input; after a crash it
    starts again from an offset it had not committed. So everything at or below the highest origin
    seen from an upstream partition is a repeat, and nothing else is. The marks are part of the
    checkpoint, cut at exactly the committed offsets.
    """

    def __init__(self, marks: Iterable[tuple[str, int, int, int]] = ()) -> None:
        self._marks = {(topic, part): (offset, seq) for topic, part, offset, seq in marks}

    def is_repeat(self, topic: str, fields: dict[str, Any]) -> bool:
        """True when `fields` (with origin_*) from `topic` was seen; else remembers it."""
        where = (topic, fields["origin_partition"])
        origin = (fields["origin_offset"], fields["origin_sequence"])
        if origin <= self._marks.get(where, (-1, -1)):
            return True
        self._marks[where] = origin
        return False

    def arrays(self, topic: str, partitions: int) -> tuple[Numbers, Numbers]:
        """(offset, sequence) of the marks of `topic` by upstream partition, for compiled code."""
        offsets, sequences = np.full(partitions, -1, np.int64), np.full(partitions, -1, np.int64)
        for (name, part), (offset, sequence) in self._marks.items():
            if name == topic:
                offsets[part], sequences[part] = offset, sequence
        return offsets, sequences

    def take_arrays(self, topic: str, offsets: Numbers, sequences: Numbers) -> None:
        """Take back what `arrays` gave, after compiled code has changed it."""
        for part in np.nonzero(offsets >= 0)[0].tolist():
            self._marks[topic, part] = (int(offsets[part]), int(sequences[part]))

    def dump(self) -> list[tuple[str, int, int, int]]:
        return [(topic, part, offset, seq)
                for (topic, part), (offset, seq) in sorted(self._marks.items())]
