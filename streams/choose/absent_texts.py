"""Absent, the texts: how the ids of all rows' nodes lie, and how much memory absences take."""

from __future__ import annotations

import numpy as np

from streams.choose.absent import LEFT, NEXT, SIZES, TEXT
from streams.engine.compiling import compiled


@compiled
def sizes_of(packed):
    """Of a node the sizes of the event's id, the object and the item."""
    return packed & 0xFFFF, packed >> 16 & 0xFFFF, packed >> 32 & 0xFFFF


@compiled
def pack(w, texts):
    """Copy the texts of all rows' nodes into `texts`, close together; returns their end."""
    end = 0
    for slot in range(len(w.heads)):
        node = w.heads[slot]
        while node >= 0:
            a, b, c = sizes_of(w.nodes[node, SIZES])
            at = w.nodes[node, TEXT]
            w.nodes[node, TEXT] = end
            for i in range(a + b + c):
                texts[end + i] = w.texts[at + i]
            end += a + b + c
            node = w.nodes[node, NEXT]
    return end


@compiled
def held_bytes(w):
    """What the nodes of all rows take with their texts. Texts count twice: there is as much room
    again, so that they are not packed with every event."""
    held = np.int64(8 * w.nodes.shape[1] * (len(w.nodes) - w.meta[LEFT]))
    if held == 0:
        return held
    for slot in range(len(w.heads)):
        node = w.heads[slot]
        while node >= 0:
            a, b, c = sizes_of(w.nodes[node, SIZES])
            held += 2 * (a + b + c)
            node = w.nodes[node, NEXT]
    return held
