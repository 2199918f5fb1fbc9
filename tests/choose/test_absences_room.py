"""What is kept of absences counts as memory of people's rows."""

from __future__ import annotations

import numpy as np
from trigger_world import START, playbook

from streams.choose import absences
from streams.choose.absences import Absences
from streams.choose.absent import take
from streams.choose.kernel import Batch
from streams.choose.program import NO_NAMES, NOTHING_TOLD
from streams.engine.hashing import signed_hash
from streams.engine.rows import Room, Rows
from streams.kernel.moments import HOUR_MS
from streams.playbooks.model import Trigger

PEOPLE, ROW_BYTES, ANCHORS = 200, 800, 10
COLUMNS = {"event_id": 0, "item_id": 1, "lines_json": 2, "cart_id": 3}
WHO_LEAVES = playbook(Trigger("absence", "cart_add", "purchase", HOUR_MS, ""), "p")
WAITS = absences.compile_waits(
    absences.waits_of("t", [WHO_LEAVES]),
    [COLUMNS[name] for name in ("event_id", "item_id", "lines_json")], COLUMNS)


class Memory:
    """An arena."""

    held = np.zeros(0, np.uint8)

    def grow(self, size: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        self.held = np.append(self.held, np.zeros(size - len(self.held), np.uint8))
        return self.held


def people(memory_bytes: int | None, anchors: int) -> tuple[Rows, Absences]:
    rows = Rows(row_bytes=ROW_BYTES, layout=1,
                room=None if memory_bytes is None else Room(memory_bytes, Memory))
    kept = Absences(rows)
    for n in range(PEOPLE):
        slot = rows.slot(b"%032x" % n)
        rows.stamp(slot, n)
        for k in range(anchors):
            batch = batch_of(b"an-event's-id-%08x-%04x" % (n, k))
            kept.reserve_for(WAITS, batch)
            take(kept.arrays, WAITS, batch, 0, slot, signed_hash("t"), signed_hash("cart_add"),
                 START + k)
    rows.take_dirty()
    return rows, kept


def batch_of(event_id: bytes) -> Batch:
    sizes, none = np.array([[len(event_id), 0, 0, 0]], np.int32), np.zeros(1, np.int64)
    starts = np.zeros((1, 4), np.int64)
    return Batch(np.frombuffer(event_id, np.uint8), starts, starts.view(np.float64), sizes,
                 np.ones(1, np.bool_), none, none.view(np.uint64), none, none, NO_NAMES, 0,
                 NOTHING_TOLD)


def test_what_is_waited_for_counts_in_the_memory_of_rows() -> None:
    limit = PEOPLE // 2 * (ROW_BYTES + 112)
    plain, _ = people(limit, 0)
    rows, kept = people(limit, ANCHORS)
    own_bytes = kept.memory_bytes
    assert own_bytes == PEOPLE * ANCHORS * (64 + 2 * len("an-event's-id-00000000-0000"))
    twin, _ = people(None, ANCHORS)
    for each in (plain, rows):
        each.make_room()
    assert len(plain.index) == PEOPLE // 2
    assert 0 < len(rows.index) < len(plain.index)
    assert len(rows.index) * (ROW_BYTES + 112) + kept.memory_bytes <= limit
    assert kept.memory_bytes == own_bytes * len(rows.index) // PEOPLE
    keys = [*twin]
    assert rows.encode_all(keys) == twin.encode_all(keys)
    assert rows.slot(keys[0]) >= 0 and rows.encode(keys[0]) == twin.encode(keys[0])


def test_nothing_is_counted_when_nobody_waits() -> None:
    _, kept = people(None, 0)
    kept.reserve(1_000, 10_000)
    assert kept.memory_bytes == 0
