"""Filling new features from the log on the broker, beside the workers; see `choose.backfill`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

Layouts = Mapping[int, Mapping[str, Written]]       # by partition and kind of row
_UNSENT_MAX = 10_000        # records between two waits for their acknowledgement


@dataclass(frozen=True, slots=True)
class Filled:
    """What was done: features filled, events read of the past, rows sent of people, and of
    everybody and things.

    since_ms   the log does not reach further back; 0: nothing of it is gone
    """

    features: tuple[str, ...]
    events: int
    rows: int
    other_rows: int
    since_ms: int


def entries_of(settings: Settings) -> dict[int, list[Entry]]:
    """What the changelogs hold of layouts, by partition. Raises UnreachableError."""
    return {partition: [(stored, value)
                        for stored, value in read_whole(settings, STAGE.keeps, partition)
                        if split(stored)[1].startswith(LAYOUT_PREFIX)]
            for partition in range(settings.partitions)}


def not_filled(program: Program, layouts: Layouts) -> dict[str, list[str]]:
    """See `backfill.not_filled`, over all partitions."""
    found: dict[str, set[str]] = {}
    for kinds in layouts.values():
        for whose, features in backfill.not_filled(program, kinds).items():
            found.setdefault(whose, set()).update(features)
    return {whose: sorted(features) for whose, features in sorted(found.items())}


def layouts_of(settings: Settings, program: Program) -> Layouts:
    """The layouts in force, by partition and kind of row. Raises UnreachableError.

    Raises StateError where the owner of a partition has other definitions than `program`.
    """
    found: dict[int, dict[str, Written]] = {}
    own = backfill.layouts_in(program)
    for partition, entries in entries_of(settings).items():
        layouts = backfill.written(program, lineage_of(settings, partition), entries)
        if not layouts:         # nothing was ever counted here
            continue
        if any(layouts[kind].description != layout.description if kind in layouts else not kind
               for kind, (_, layout) in own.items()):
            raise StateError(
                f"partition {partition} is not kept by these definitions yet",
                "start the workers with them (KAIROS_DEFINITIONS), wait until something was heard "
                "there, and try again")
        found[partition] = layouts
    return found


def fill(settings: Settings, program: Program, layouts: Layouts,
         say: Callable[[str], None]) -> Filled:
    """Count what is lacking and send it to the owners. Stopped and begun again, it goes on.

    Raises UnreachableError.
    """
    lows = {partition: _beginning(settings, partition) for partition in layouts}
    gaps, events, people, others, since_ms = backfill.gaps_of(layouts), 0, 0, 0, 0
    outbox = Outbox(settings, "kairos-backfill")
    try:
        for gap in gaps:
            past = backfill.Past(program, gap, partitions=settings.partitions, gaps=gaps)
            begins_ms = 0
            for partition in sorted(gap.ends):
                begins_ms = max(begins_ms, _take(settings, past, partition, lows[partition] > 0))
                say(f"partition {partition}: {past.events:,} events of the past")
            sent = _send(settings, outbox, past, begins_ms)
            people, others = people + sent[0], others + sent[1]
            events, since_ms = events + past.events, max(since_ms, begins_ms)
    finally:
        outbox.close()
    names = tuple(dict.fromkeys(
        name for kind, features in backfill.cells_of(program).items()
        for name, cells in features.items() if not name.startswith("_")
        and any(cells & gap.of(kind) for gap in gaps)))
    return Filled(names, events, people, others, since_ms)


def _take(settings: Settings, past: backfill.Past, partition: int, is_cut: bool) -> int:
    """Read one partition; when it begins, if its real beginning is gone."""
    begins_ms = 0
    for messages in read_messages(settings, pipeline.ADMITTED, partition):
        records = [record_of(message) for message in messages]
        if is_cut and records and not begins_ms:
            begins_ms = records[0].appended_ms
        past.take(records)
    return begins_ms


def _send(settings: Settings, outbox: Outbox, past: backfill.Past, since_ms: int,
          ) -> tuple[int, int]:
    """(rows of people, others) that were sent."""
    people, sent, words, barrier = 0, 0, 0, outbox.barrier()
    for partition in range(settings.partitions):
        for key, value in past.records(partition, since_ms=since_ms):
            outbox.put(pipeline.ADMITTED, key, value, barrier, partition)
            people, sent = people + bool(key), sent + 1
            words += not (key or backfill.is_row(value))
            if sent % _UNSENT_MAX == 0:
                outbox.wait(barrier)
                barrier = outbox.barrier()
    outbox.wait(barrier)
    return people, sent - people - words


def _beginning(settings: Settings, partition: int) -> int:
    """The first offset of events.admitted that is still there."""
    asking = Consumer({**settings.kafka_client, "group.id": "kairos-readers"})
    try:
        return reach_of(asking, TopicPartition(pipeline.ADMITTED, partition))[0]
    except KafkaException as fault:
        raise unreachable(f"{pipeline.ADMITTED}/{partition} cannot be read", fault) from fault
    finally:
        asking.close()
