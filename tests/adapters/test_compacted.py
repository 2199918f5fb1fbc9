"""Of a compacted topic's key the newest record counts, whatever else was written under it."""

from __future__ import annotations

import pytest

from schemas import contract
from streams import pipeline
from streams.adapters.control import _newest

TOPIC = pipeline.SEGMENT_ROLLS


def share(members: int) -> bytes:
    return contract(TOPIC).encode({
        "tenant": "t", "segment": "vip", "partition": 0, "members": members, "sums_json": "{}",
        "event_ms": 1, "recorded_ms": 1, "entity": "segment", "epoch": 1, "row": b"",
        "changes": 0})


@pytest.mark.parametrize(("values", "members"), [
    ([share(1), share(2)], 2), ([share(1), b"no record"], 1), ([share(1), None], None),
    ([share(1), None, b"no record"], None), ([None, share(3)], 3)])
def test_the_newest_that_is_a_record_counts(
        values: list[bytes | None], members: int | None) -> None:
    found = _newest(TOPIC, values)
    assert (found and found["members"]) == members


def test_a_key_of_no_record_is_told_apart_from_a_tombstone() -> None:
    with pytest.raises(ValueError, match="no record"):
        _newest(TOPIC, [b"no record"])
