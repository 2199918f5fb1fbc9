"""A small stage for the simulation, and its twin: the same answers, obviously, from a plain loop.

The stage has whatever may go wrong: rows that must agree with each other (a key's and its group's),
rows that are dropped and come back, state that belongs to no key, timers by event time, origins
that are repeated, two inputs. It looks at no stamps: that every record counts once is all the
engine's doing. An emission says everything the stage knew, so a wrong state shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sim_broker import Broker

from schemas import contract
from streams.engine.records import Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState

QUIET_MS = 1_000
SPOKEN = "segments.changed"
_CHANGE = {"tenant": "t", "profile_id": "p", "segment": "s", "entered": True, "event_ms": 1,
           "cause": "event"}


class Tally:
    """Counts per key and group; speaks at every second event, at a goodbye, and after silence."""

    name = "tally"
    topics: tuple[str, ...] = ("in", "more")

    def make_slab(self) -> Slab:
        return Slab(topics=len(self.topics), fields=2)

    def walk(self, state: PartitionState, batch: Sequence[Record], out: Out) -> None:
        for record in batch:
            out.at(record)
            kind, number = record.value.split(b",")
            if record.topic == "more":
                self._count(state, record)
            elif kind == b"bad":
                state.notes["heard"] = 1_000            # half done, then:
                raise RuntimeError("a bug that only this record meets")
            elif kind == b"w":
                self._time(state, self.watermark(int(number), out), out)
            elif not state.seen.is_repeat("in", {"origin_partition": 0,
                                                 "origin_offset": int(number),
                                                 "origin_sequence": 0}):
                self._event(state, record, kind, int(number), out)

    def watermark(self, told_ms: int, out: Out) -> int:
        return told_ms

    def _count(self, state: PartitionState, record: Record) -> int:
        slab = state.slab
        slot = slab.slot(record.key)
        slab.words[slab.base(slot)] += 1
        slab.stamp(slot, self.topics.index(record.topic), record.offset)
        return int(slab.words[slab.base(slot)])

    def _event(self, state: PartitionState, record: Record, kind: bytes, number: int,
               out: Out) -> None:
        slab, key = state.slab, record.key
        count = self._count(state, record)
        group = Record(record.topic, 0, record.offset, b"g" + key[-1:], b"", 0)
        of_group = self._count(state, group)
        state.notes["heard"] = state.notes.get("heard", 0) + 1
        if kind == b"bye":
            slab.drop(key)
        else:
            slab.tails[slab.slot(key)]["due"] = number * 100 + QUIET_MS
            state.timers.arm("t", key, number * 100 + QUIET_MS)
        if kind == b"bye" or count % 2 == 0:
            self._say(out, f"{key.decode()}-{count}-{of_group}-{state.notes['heard']}")

    def _time(self, state: PartitionState, told_ms: int, out: Out) -> None:
        now_ms = state.watermarks.advance("t", 0, told_ms)
        for due_ms, key in state.timers.due("t", now_ms):
            slot = state.slab.find(key)
            if slot is None or "due" not in (tail := state.slab.tails[slot]):
                continue
            if tail["due"] <= due_ms:
                del tail["due"]
                state.slab.dirty.add(key)
                self._say(out, f"{key.decode()}-quiet-{due_ms}")
            else:
                state.timers.arm("t", key, tail["due"])

    def _say(self, out: Out, what: str) -> None:
        out.emit(SPOKEN, "k", {**_CHANGE, "change_id": what}, partition=0)

    def recovered(self, state: PartitionState) -> None:
        for key in state.slab:
            tail = state.slab.tails[state.slab.slot(key)]
            if "due" in tail:
                state.timers.arm("t", key, tail["due"])

    def idle(self, state: PartitionState, out: Out, *, idle_ms: int) -> None: ...

    def before_checkpoint(self, state: PartitionState, out: Out) -> None: ...


def fill(broker: Broker, dice: random.Random) -> None:
    """A short world: events with gaps between their offsets, repeats as an upstream crash leaves
    them, watermarks, goodbyes."""
    log, told = broker.log("in"), list[tuple[bytes, bytes]]()
    for number in range(dice.randrange(4, 14)):
        key = b"%s%d" % (dice.choice((b"a", b"b", b"c")), dice.randrange(2))
        kind = b"bye" if dice.random() < 0.2 else b"e"
        told.append((key, b"%s,%d" % (kind, number)))
        log.append(*told[-1], 0, gap=dice.choice((0, 0, 0, 1, 5)))
        if dice.random() < 0.15:
            for again in told[-dice.randrange(1, 4):]:
                log.append(*again, 0)
        if dice.random() < 0.3:
            log.append(b"t", b"w,%d" % (number * 100 - dice.randrange(200)), 0)
    log.append(b"t", b"w,%d" % (dice.randrange(2_000)), 0)
    if dice.random() < 0.1:
        log.entries.insert(0, (log.entries[0][0], b"a0", b"bad,0", 0))
        log.entries[1:] = [(offset + 1, *rest) for offset, *rest in log.entries[1:]]
        log.end += 1
    for _ in range(dice.randrange(4)):
        broker.log("more").append(b"m%d" % dice.randrange(2), b"m,0", 0, gap=dice.randrange(2))


def obvious(broker: Broker) -> tuple[dict[bytes, int], dict[str, int], list[str]]:
    """(count of every key, notes, what was said): one loop over the logs, nothing else."""
    counts: dict[bytes, int] = {}
    due: dict[bytes, int] = {}
    newest, heard, watermark, said = -1, 0, -1, []
    for _, key, value, _ in broker.log("in").entries:
        kind, number = (value or b"").split(b",")
        if kind == b"bad":
            continue
        if kind == b"w":
            watermark = max(watermark, int(number))
            for due_ms, who in sorted((at, who) for who, at in due.items() if at <= watermark):
                said.append(f"{who.decode()}-quiet-{due_ms}")
                del due[who]
        elif int(number) > newest:
            newest, heard = int(number), heard + 1
            group = b"g" + key[-1:]
            counts[key] = counts.get(key, 0) + 1
            counts[group] = counts.get(group, 0) + 1
            due[key] = newest * 100 + QUIET_MS
            if kind == b"bye" or counts[key] % 2 == 0:
                said.append(f"{key.decode()}-{counts[key]}-{counts[group]}-{heard}")
            if kind == b"bye":
                del counts[key], due[key]
    for _, key, _, _ in broker.log("more").entries:
        counts[key] = counts.get(key, 0) + 1
    return counts, {"heard": heard} if heard else {}, said


def rows(state: PartitionState) -> dict[bytes, int]:
    slab = state.slab
    return {key: int(slab.words[slab.base(slab.slot(key))]) for key in slab}


@lru_cache(65536)
def _decoded(value: bytes) -> dict[str, Any]:
    return contract(SPOKEN).decode(value)


def heard_downstream(broker: Broker) -> list[str]:
    """What a reader that knows repeats by their origin takes from the topic."""
    seen, taken = Seen(), []
    for _, _, value, _ in broker.log(SPOKEN).entries:
        fields = _decoded(value or b"")
        if not seen.is_repeat(SPOKEN, fields):
            taken.append(fields["change_id"])
    return taken


def logic() -> Tally:
    return Tally()


def compare(world: Any, when: str) -> None:
    """Raises AssertionError when rows, notes or emissions are not the twin's."""
    counts, notes, said = obvious(world.broker)
    state = world.state()
    assert rows(state) == counts, f"{when}: rows {rows(state)}, the twin has {counts}"
    assert state.notes == notes, f"{when}: notes {state.notes}, the twin has {notes}"
    found = heard_downstream(world.broker)
    assert found == said, f"{when}: said {found}, the twin says {said}"
