"""Filling new features from the log on the broker, beside the workers; see `choose.backfill`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams import pipeline
from streams.adapters.producing import Outbox
from streams.adapters.profiles import STAGE, lineage_of
from streams.adapters.reading import reach_of, read_messages, read_whole, record_of, unreachable
from streams.choose import backfill
from streams.choose.features.migrating import Written
from streams.choose.program import Program
from streams.choose.tables import LAYOUT_PREFIX
from streams.engine.versions import Entry, split
from streams.kernel.errors import StateError
from streams.settings import Settings

_UNSENT_MAX = 10_000        # records between two waits for their acknowledgement


@dataclass(frozen=True, slots=True)
class Filled:
    """What was done: features filled, events read of the past, rows sent.

    since_ms   the log does not reach further back; 0: nothing of it is gone
    """

    features: tuple[str, ...]
    events: int
    rows: int
    since_ms: int


def entries_of(settings: Settings) -> dict[int, list[Entry]]:
    """What the changelogs hold of layouts, by partition. Raises UnreachableError."""
    return {partition: [(stored, value)
                        for stored, value in read_whole(settings, STAGE.keeps, partition)
                        if split(stored)[1].startswith(LAYOUT_PREFIX)]
            for partition in range(settings.partitions)}


def not_filled(settings: Settings, program: Program,
               entries: Mapping[int, Sequence[Entry]]) -> dict[str, list[str]]:
    """See `backfill.not_filled`, over all partitions; entities by their names."""
    found: dict[str, set[str]] = {}
    for partition, own in entries.items():
        told = backfill.not_filled(program, lineage_of(settings, partition), own)
        for kind, features in told.items():
            found.setdefault(kind, set()).update(features)
    return {kind: sorted(features) for kind, features in sorted(found.items())}


def layouts_of(settings: Settings, program: Program,
               entries: Mapping[int, Sequence[Entry]] | None = None) -> dict[int, Written]:
    """The layout in force, by partition. `entries`: what `entries_of` gives, read unless given.

    Raises StateError where the owner of a partition has other definitions than `program`.
    """
    found: dict[int, Written] = {}
    for partition, own in (entries or entries_of(settings)).items():
        layout = backfill.written(lineage_of(settings, partition), own)
        if layout is None:      # nothing was ever counted here
            continue
        if layout.description != program.people.description:
            raise StateError(
                f"partition {partition} is not kept by these definitions yet",
                "start the workers with them (KAIROS_DEFINITIONS), wait until something was heard "
                "there, and try again")
        found[partition] = layout
    return found


def fill(settings: Settings, program: Program, layouts: dict[int, Written],
         say: Callable[[str], None]) -> Filled:
    """Count what is lacking and send it to the owners. Stopped and begun again, it goes on.

    Raises UnreachableError.
    """
    lows = {partition: _beginning(settings, partition) for partition in layouts}
    cells, events, rows, since_ms = set[str](), 0, 0, 0
    outbox = Outbox(settings, "kairos-backfill")
    try:
        for gap in backfill.gaps_of(layouts):
            past, begins_ms = backfill.Past(program, gap, partitions=settings.partitions), 0
            for partition, end in sorted(gap.ends.items()):
                begins_ms = max(begins_ms, _take(settings, past, partition, end,
                                                 lows[partition] > 0))
                say(f"partition {partition}: {past.events:,} events of the past")
            rows += _send(settings, outbox, past, begins_ms)
            events, since_ms = events + past.events, max(since_ms, begins_ms)
            cells |= gap.cells
    finally:
        outbox.close()
    names = tuple(name for name, own in backfill.cells_of(program).items()
                  if not own.isdisjoint(cells))
    return Filled(names, events, rows, since_ms)


def _take(settings: Settings, past: backfill.Past, partition: int, end: int, is_cut: bool) -> int:
    """Read one partition up to `end`; when it begins, if its real beginning is gone."""
    begins_ms = 0
    for messages in read_messages(settings, pipeline.ADMITTED, partition):
        records = [record_of(message) for message in messages]
        if is_cut and records and not begins_ms:
            begins_ms = records[0].appended_ms
        past.take(records)
        if records and records[-1].offset >= end:
            break
    return begins_ms


def _send(settings: Settings, outbox: Outbox, past: backfill.Past, since_ms: int) -> int:
    count, barrier = 0, outbox.barrier()
    for partition in range(settings.partitions):
        for key, value in past.records(partition, since_ms=since_ms):
            outbox.put(pipeline.ADMITTED, key, value, barrier, partition)
            count += bool(key)
            if count % _UNSENT_MAX == 0:
                outbox.wait(barrier)
                barrier = outbox.barrier()
    outbox.wait(barrier)
    return count


def _beginning(settings: Settings, partition: int) -> int:
    """The first offset of events.admitted that is still there."""
    asking = Consumer({**settings.kafka_client, "group.id": "kairos-readers"})
    try:
        return reach_of(asking, TopicPartition(pipeline.ADMITTED, partition))[0]
    except KafkaException as fault:
        raise unreachable(f"{pipeline.ADMITTED}/{partition} cannot be read", fault) from fault
    finally:
        asking.close()
