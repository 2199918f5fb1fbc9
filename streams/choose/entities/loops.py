"""The compiled loops of entities."""

from __future__ import annotations

from streams.choose.features.layout import NEWEST, STAMP
from streams.choose.features.reading import read
from streams.choose.features.updating import type_of, update
from streams.engine.compiling import compiled
from streams.engine.hashing import hash64


@compiled
def types_of_events(types, raw, numbers, sizes, events, column, found):
    """`type_of` each event, by the column of its type."""
    for j in range(len(events)):
        n = events[j]
        found[j] = type_of(types, hash64(raw, numbers[n, column], sizes[n, column]))


@compiled
def tally(slots, where, values, quantities, types, people, fields, event_ms, offsets, starts, ops,
          names, u8, u16, i64, dirty):
    """Take naming k, which is of event `where[k]`, into row `slots[k]`: `update`, of people instead
    of items, and no texts. Offsets of different partitions have no order: rows of things know none.
    """
    for k in range(len(slots)):
        slot, j = slots[k], where[k]
        t = types[j]
        update(ops, starts[t], starts[t + 1], u8, u16, i64, slot, event_ms[j], 0, values[k],
               quantities[k], fields[j], people, j, j + 1, names, 0)
        i64[slot, NEWEST] = max(i64[slot, NEWEST], event_ms[j])
        i64[slot, STAMP] = max(i64[slot, STAMP], offsets[j] + 1)
        dirty[slot] = 1


@compiled
def heats(reads, u8, u16, i64, slots, at_ms, heat):
    """How warm each row is: its first feature."""
    for n in range(len(slots)):
        heat[n] = read(reads, u8, u16, i64, slots[n], 0, at_ms)[0]
