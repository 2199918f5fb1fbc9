"""A merged row equals the row that heard both histories; and merging is an algebra."""

from __future__ import annotations

import random

from feature_twin import Fast, Heard
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import SPECS, history

from streams.choose.features.merging import merge


def row_of(*events: Heard) -> Fast:
    return Fast(SPECS).take(*events)


def merged(into: Fast, *others: Fast) -> bytes:
    for other in others:
        merge(into.layout, into.rows.views.u8[into.slot], other.rows.views.u8[other.slot].copy())
    return into.bytes()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 80), st.integers(2, 60), st.integers(1, 40))
def test_the_merge_of_two_histories_is_the_history_of_both(seed: int, split: int, items: int,
                                                          days: int) -> None:
    events = history(seed, 80, items)
    far = [Heard(e.offset, e.event_type, e.event_ms + days * 86_400_000, e.value, e.quantity,
                 e.item, e.category) for e in events[split:]]
    whole = row_of(*events[:split], *far).bytes()
    assert merged(row_of(*events[:split]), row_of(*far)) == whole
    assert merged(row_of(*far), row_of(*events[:split])) == whole


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_merging_does_not_matter_and_nothing_is_neutral(seed: int) -> None:
    events, dice = history(seed, 60, 30), random.Random(seed)
    parts: list[list[Heard]] = [[], [], []]
    for each in events:
        dice.choice(parts).append(each)
    a, b, c = (row_of(*part) for part in parts)
    left = merged(row_of(*parts[0]), b, c)
    bc = row_of(*parts[1])
    merged(bc, c)
    assert merged(a, bc) == left == row_of(*events).bytes()
    assert merged(row_of(*events), row_of()) == row_of(*events).bytes()
