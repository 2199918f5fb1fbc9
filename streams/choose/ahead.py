"""Ahead: what the next events of a batch will need is asked for before their turn.

Compiled; part of the kernel's loop. Nothing is decided here and nothing is changed: somebody who is
not known yet, or whose place in the index is another, only comes without having been asked for.
"""

from __future__ import annotations

from streams.engine.compiling import compiled
from streams.engine.hashing import hash64
from streams.engine.index import look, look_at_key, look_at_slot
from streams.engine.touching import AHEAD, LINE, touch

_ROW_BYTES_MAX = 64 * LINE      # of longer rows only the beginning: more would push out the rest


@compiled
def look_ahead(first, b, f, ix, v, hashes):
    """For the AHEAD events from `first` on: the hashes of their people (event n's at n modulo
    2 * AHEAD), and touch what they have here."""
    end = min(first + AHEAD, len(b.offsets))
    for n in range(first, end):
        if b.usable[n]:
            hashes[n % (2 * AHEAD)] = hash64(b.raw, b.numbers[n, f.profile_id],
                                             b.sizes[n, f.profile_id])
        look(ix, hashes[n % (2 * AHEAD)])
    row_bytes = v.u8.shape[1]
    for n in range(first, end):
        slot = look_at_slot(ix, hashes[n % (2 * AHEAD)])
        if slot >= 0:
            touch(v.waits, slot)
            touch(v.dirty, slot)
            touch(v.armed, 8 * slot)
            for at in range(0, min(row_bytes, _ROW_BYTES_MAX), LINE):
                touch(v.u8, slot * row_bytes + at)
    for n in range(first, end):
        look_at_key(ix, hashes[n % (2 * AHEAD)])
