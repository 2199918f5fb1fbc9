"""A glance says what the full record says, or nothing; and it changes nothing that comes out."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import contract
from streams.engine.records import Emission, Out, Record, Seen, Stretch
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs
from streams.learn.agent import LearnLogic
from streams.learn.glances import FEW, Glances
from streams.pipeline import ADMITTED, DECISIONS

START_MS = 1_700_000_000_000
EVENT = contract(ADMITTED)
TEXTS = st.sampled_from(["", "purchase", "refund", "signup", "page_view", "Überblick"])


def admitted(number: int, **changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        name: {"string": "", "double": 0.0}.get(field["type"], 0)
        for name, field in EVENT.fields.items()}
    return {**plain, "tenant": "shop", "profile_id": "p", "event_id": f"e{number}",
            "event_ms": START_MS + number, "origin_offset": number, **changes}


EVENTS = st.builds(dict, event_type=TEXTS, tenant=st.sampled_from(["shop", "läden"]),
                   purposes=st.integers(0, 15), profile_id=st.sampled_from("pq"),
                   item_id=st.sampled_from(["", "ä"]), origin_sequence=st.integers(0, 2))


def values_of(changes: list[dict[str, Any]], torn: set[int]) -> list[bytes]:
    values = [EVENT.encode(admitted(number, **change)) for number, change in enumerate(changes)]
    return [value[:-1] if number in torn else value for number, value in enumerate(values)]


def decision() -> Record:
    kind = contract(DECISIONS)
    fields: dict[str, Any] = {
        name: {"string": "", "double": 0.0, "boolean": False}.get(field["type"], 0)
        for name, field in kind.fields.items()}
    return Record(DECISIONS, 0, 0, b"p", kind.encode({
        **fields, "decision_id": "d", "tenant": "shop", "profile_id": "p", "purposes": 15,
        "conversion": "signup", "window_ms": DAY_MS, "moment_ms": START_MS}), 0)


def records_of(values: list[bytes]) -> list[Record]:
    return [Record(ADMITTED, 0, offset, b"p", value, 0) for offset, value in enumerate(values)]


@settings(deadline=None)      # the first batch compiles
@given(st.lists(EVENTS, min_size=FEW, max_size=40), st.sets(st.integers(0, 39), max_size=3))
def test_a_glance_says_what_the_record_says(changes: list[dict[str, Any]],
                                            torn: set[int]) -> None:
    values = values_of(changes, torn)
    records = records_of(values)
    stretch = Stretch(ADMITTED, 0, list(range(len(values))), values, records.__getitem__)
    found = Glances().of(records)
    assert Glances().of(stretch) == found
    for number, (glance, value) in enumerate(zip(found, values, strict=True)):
        plain = number not in torn and all(
            str(text).isascii() for text in EVENT.decode(value).values())
        assert (glance is not None) == plain
        if glance is not None:
            assert glance.items() <= EVENT.decode(value).items() and len(glance) == 6


def walk(batches: list[list[Record]]) -> tuple[list[Emission], dict[bytes, bytes | None], Any]:
    logic = LearnLogic(SideInputs())
    state = PartitionState(0, Slab(topics=4), Seen(), Watermarks(1), Timers())
    out = Out("learn", START_MS)
    for batch in batches:
        logic.walk(state, batch, out)
    return out.emissions, {key: state.slab.encode(key) for key in state.slab}, state.seen.dump()


@settings(deadline=None)      # the first batch compiles
@given(st.lists(EVENTS, min_size=FEW, max_size=40), st.sets(st.integers(0, 39), max_size=3))
def test_a_batch_ends_as_its_records_one_by_one(changes: list[dict[str, Any]],
                                                torn: set[int]) -> None:
    records = records_of(values_of(changes, torn))
    half = len(records) // 2
    log = [*records[:half], decision(), *records[half:], *records[:2]]
    assert walk([log]) == walk([[record] for record in log])
