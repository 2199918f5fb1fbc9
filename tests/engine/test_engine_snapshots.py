"""A snapshot is the changelog, shorter; whatever is wrong with it, it is passed over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine import snapshots
from streams.engine.slab import Slab
from streams.engine.snapshots import Snapshot

NOW_MS = 1_700_000_000_000


def slab_of(rows: dict[bytes, int]) -> Slab:
    slab = Slab(topics=1, fields=1)
    for key, number in rows.items():
        slot = slab.slot(key)
        slab.words[slab.base(slot)] = number
        slab.tails[slot]["n"] = number
    return slab


def stored(rows: dict[bytes, int], written_ms: int = NOW_MS,
           spent: tuple[bytes, ...] = ()) -> bytes:
    slab = slab_of(rows)
    return snapshots.encode(
        Snapshot(7, written_ms, 2, 9, [(key, 4, slab.encode(key) or b"") for key in slab],
                 list(spent)), layout=1, width=2)


@given(st.dictionaries(st.binary(min_size=1, max_size=4), st.integers(0, 2**53)),
       st.lists(st.binary(max_size=9)))
def test_rows_come_back_as_they_were(rows: dict[bytes, int], spent: list[bytes]) -> None:
    found = snapshots.decode(stored(rows, spent=tuple(spent)), layout=1, width=2, now_ms=NOW_MS)
    assert found is not None
    assert (found.next_offset, found.epoch, found.number, found.spent) == (7, 2, 9, spent)
    copy = Slab(topics=1, fields=1)
    for key, tag, row in found.rows:
        assert tag == 4
        copy.apply(key, row)
    assert {k: copy.encode(k) for k in copy} == {k: slab_of(rows).encode(k) for k in rows}


@given(st.data())
def test_a_damaged_snapshot_is_passed_over(data: st.DataObject) -> None:
    whole = stored({b"a": 1, b"b": 2})
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
    assert snapshots.decode(flipped, layout=1, width=2, now_ms=NOW_MS) is None
    assert snapshots.decode(whole[:at], layout=1, width=2, now_ms=NOW_MS) is None


@pytest.mark.parametrize(("layout", "width", "now_ms"), [
    (2, 2, NOW_MS), (1, 3, NOW_MS), (1, 2, NOW_MS + snapshots.AGE_MS_MAX + 1), (1, 2, NOW_MS - 1)])
def test_a_snapshot_of_another_layout_or_time_is_passed_over(layout: int, width: int,
                                                             now_ms: int) -> None:
    assert snapshots.decode(stored({b"a": 1}), layout=layout, width=width, now_ms=now_ms) is None
