"""Rows that partitions keep of a group, put together, are the row of one that heard everything."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from feature_twin import Fast, Heard
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import SPECS, history

from streams.choose import pooling
from streams.choose.features.layout import PEOPLE, Layout
from streams.choose.pooling import Pools, pooled
from streams.engine.whole import GREATEST
from streams.kernel.side_inputs import SideInputs

STAMP_BYTES = 8
LAYOUT = Fast(SPECS, wide=True).layout


def row_of(events: list[Heard]) -> Fast:
    """As groups hear events: without offsets, which have no order between partitions."""
    return Fast(SPECS, wide=True).take(*(replace(event, offset=0) for event in events))


def bytes_of(row: Fast) -> np.ndarray:
    return row.rows.views.u8[row.slot].copy()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 40))
def test_any_division_of_the_events_pools_to_the_row_of_all(seed: int, partitions: int,
                                                           days: int) -> None:
    dice = random.Random(seed)
    # Few different moments: what comes first or last of two at one time is decided too.
    events = [replace(e, event_ms=e.event_ms // (days * 3_600_000) * days * 3_600_000)
              for e in history(seed, 90, 30)]
    dice.shuffle(events)
    parts: list[list[Heard]] = [[] for _ in range(partitions)]
    for event in events:
        dice.choice(parts).append(event)
    found = pooled(LAYOUT, [bytes_of(row_of(part)) for part in parts])
    dice.shuffle(events)
    assert found.tobytes() == bytes_of(row_of(events)).tobytes()


def test_one_partition_alone_pools_to_itself_and_empty_ones_add_nothing() -> None:
    whole = bytes_of(row_of(history(1)))
    nothing = bytes_of(row_of([]))
    assert pooled(LAYOUT, [whole]).tobytes() == whole.tobytes()
    assert pooled(LAYOUT, [nothing, whole, nothing]).tobytes() == whole.tobytes()
    assert pooled(LAYOUT, [nothing, nothing]).tobytes() == nothing.tobytes()


def test_full_tiles_stay_full_and_people_add_up() -> None:
    at = next(c.at for c in LAYOUT.cells.values() if c.signature.startswith("1/1 purchase"))
    rows = [bytes_of(row_of(history(seed, 3))) for seed in (1, 1)]
    for row in rows:
        words = row.view(np.int64)
        words[at // 8], words[at // 8 + 1:at // 8 + 3], words[PEOPLE] = 10**4, GREATEST - 5, 7
    found = pooled(LAYOUT, rows).view(np.int64)
    assert found[at // 8 + 1:at // 8 + 3].tolist() == [GREATEST, GREATEST]
    assert found[PEOPLE] == 14


def share(partition: int, row: bytes, *, name: str = "vip", epoch: int = 1) -> dict[str, object]:
    return {"tenant": "t", "segment": name, "partition": partition, "members": 3, "epoch": epoch,
            "row": row, "entity": "segment"}


def test_a_pool_follows_the_newest_share_of_each_partition() -> None:
    side, events = SideInputs(), history(3, 60)
    pools, group = Pools(LAYOUT, side), ("t", "segment", "vip")

    def now() -> bytes | None:
        slot = pools.slot(group)
        return None if slot is None else pools.rows.views.u8[slot].tobytes()[STAMP_BYTES:]

    assert now() is None
    for partition, upto in ((0, 10), (1, 40), (0, 30)):
        own = [e for e in events[:upto] if e.offset % 2 == partition]
        side.take("segments.rolled", share(partition, row_of(own).bytes()))
    told = [e for e in events[:30] if not e.offset % 2] + [e for e in events[:40] if e.offset % 2]
    expected = bytes_of(row_of(told)).tobytes()[STAMP_BYTES:]
    assert now() == now() == expected
    side.take("segments.rolled", share(1, b""))
    assert now() == bytes_of(row_of([e for e in told if not e.offset % 2])).tobytes()[STAMP_BYTES:]


def test_shares_of_another_layout_wait_for_their_next_owner() -> None:
    side, other = SideInputs(), Layout(SPECS[:3], wide=True)
    pools, group = Pools(other, side), ("t", "segment", "vip")
    side.take("segments.rolled", share(0, row_of(history(1)).bytes()))
    assert pools.slot(group) is None
    narrow = Fast(SPECS[:3], wide=True)
    narrow.layout, narrow.rows.layout = other, other.id
    side.take("segments.rolled", share(1, narrow.bytes()))
    assert pools.slot(group) is not None


def test_only_so_many_groups_are_kept_put_together() -> None:
    side = SideInputs()
    pools, row = Pools(LAYOUT, side), row_of(history(1, 5)).bytes()
    for number in range(3 * pooling.POOLED_MAX):
        side.take("segments.rolled", share(0, row, name=f"s{number}"))
        assert pools.slot(("t", "segment", f"s{number}")) is not None
    assert len(pools.rows) == pooling.POOLED_MAX
    assert pools.slot(("t", "segment", "s0")) is not None, "made anew when it is asked for"


def test_a_share_that_comes_after_a_later_owners_is_noticed() -> None:
    side = SideInputs()
    for epoch in (1, 2, 2):
        side.take("segments.rolled", share(0, b"", epoch=epoch))
        assert not side.overtaken
    side.take("segments.rolled", share(0, b"", epoch=1))
    assert side.overtaken == {(("t", "segment", "vip"), 0)}
