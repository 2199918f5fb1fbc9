"""A visitor turns out to be a person: what they did before counts as the person's, once, also when
the process is killed in the middle of the handover."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from broker_model import Broker, drive
from sim_rows import in_place
from test_choose_crash import PLAYBOOKS, START, heard, watermark

from schemas import contract
from streams.choose import decision
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import is_group, tables_of
from streams.engine.lane import Lane
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Trigger

VISITOR, PERSON = "visitor", "person"
HEADER_BYTES = 16 + 8 * 8 + 8 * 16          # of the encoding, of the row, recent event ids


def logic(*, holdout: float = 0.0) -> ChooseLogic:
    playbooks = tuple(replace(p, holdout=holdout) for p in PLAYBOOKS)
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: playbooks, members_min=0)


def event(number: int, profile: str, kind: str, at_ms: int, **fields: Any) -> tuple[bytes, bytes]:
    told = {"event_id": f"e{number}", "tenant": "t", "event_type": kind, "event_ms": at_ms,
            "appended_ms": at_ms, "profile_id": profile, "item_id": f"i{number % 5}",
            "cart_id": "c1", "value_micros": 20_000_000, "purposes": 15, "origin_partition": 0,
            "origin_offset": number, "origin_sequence": 0, **fields}
    return profile.encode(), contract("events.admitted").encode(told)


def link(number: int, at_ms: int) -> tuple[bytes, bytes]:
    return VISITOR.encode(), contract("handover").encode({
        "tenant": "t", "visitor_id": VISITOR, "profile_id": PERSON, "row": b"", "layout": "",
        "event": b"", "event_ms": at_ms, "appended_ms": at_ms, "stage": "admit",
        "origin_partition": 0, "origin_offset": number, "origin_sequence": 1})


def world(*records: tuple[bytes, bytes]) -> Broker:
    broker = Broker(partitions=1)
    broker.logs["events.admitted", 0].extend(records)
    return broker


def play(broker: Broker, *parts: list[tuple[bytes, bytes]], holdout: float = 0.0) -> Lane:
    """Each part arrives when the stage has done all that was there before."""
    for part in parts:
        broker.logs["events.admitted", 0].extend(part)
        lane = drive(broker, logic(holdout=holdout), 0)
        assert lane is not None
    return lane


def story(seed: int, *, known_from: int) -> list[tuple[bytes, bytes]]:
    """Sixty moments of one person, under the visitor's id before the moment `known_from` (and once
    more after it: a browser that was not told yet)."""
    dice, records, at_ms = random.Random(seed), list[tuple[bytes, bytes]](), START
    for number in range(60):
        at_ms += dice.choice([MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, 2 * DAY_MS])
        if number == known_from:
            records.append(link(number, at_ms))
        late = number == known_from + 3
        profile = VISITOR if number < known_from or late else PERSON
        kind = dice.choice(["product_view", "cart_add", "search", "purchase"])
        records.append(event(number + 1, profile, kind, at_ms))
    records.append((b"t", watermark(at_ms + 200 * DAY_MS)))
    return records


def person_row(lane: Lane | None) -> bytes:
    assert lane is not None
    return lane.state.slab.encode(PERSON.encode()) or b""


def decided(broker: Broker) -> list[tuple[str, str, int]]:
    kind = contract("decisions.made")
    found = [kind.decode(r.value) for r in broker.records("decisions.made", 0)
             if kind.is_mine(r.value)]
    return sorted({(f["playbook"], f["profile_id"], f["moment_ms"]) for f in found})


@pytest.mark.parametrize("seed", range(6))
def test_cells_and_groups_are_as_if_it_had_always_been_the_person(seed: int) -> None:
    rows = []
    for known_from in (0, 25):
        lane = drive(world(*story(seed, known_from=known_from)), logic(), 0)
        assert lane is not None
        size = compiled().people.row_bytes + 16
        rows.append(in_place(person_row(lane))[HEADER_BYTES:size])
    assert rows[0] == rows[1], f"{seed=}"


def test_a_cart_left_before_the_log_in_is_reminded_of_after_it() -> None:
    cart, later = event(1, VISITOR, "cart_add", START), START + HOUR_MS
    for bought in (False, True):
        broker, first = world(), [cart, link(2, START + MINUTE_MS)]
        purchase = [event(3, PERSON, "purchase", START + 10 * MINUTE_MS)] if bought else []
        play(broker, first, [*purchase, (b"t", watermark(later))])
        carts = [d for d in decided(broker) if d[0] == "cart"]
        assert carts == ([] if bought else [("cart", PERSON, START + 30 * MINUTE_MS)])


def test_caps_and_cool_downs_count_what_was_said_to_the_visitor() -> None:
    records = [event(n, VISITOR, "purchase", START + n * 2 * HOUR_MS) for n in range(1, 6)]
    after = START + 11 * HOUR_MS
    broker = world()
    play(broker, [*records, link(7, after)], [event(8, PERSON, "purchase", after + MINUTE_MS)])
    thanks = [d for d in decided(broker) if d[0] == "thanks"]
    assert {d[1] for d in thanks} == {VISITOR} and len(thanks) == 5      # the cap of five is full


def test_who_was_held_out_as_a_visitor_stays_held_out() -> None:
    share = 0.5
    visitor, person = people_of_whom_the_visitor_is_held_out(share)
    told = contract("handover").decode(link(2, START + HOUR_MS)[1])
    moved = contract("handover").encode({**told, "visitor_id": visitor, "profile_id": person})
    broker = world()
    play(broker, [event(1, visitor, "purchase", START), (visitor.encode(), moved)],
         [event(3, person, "purchase", START + DAY_MS)], holdout=share)
    kind = contract("decisions.made")
    made = [kind.decode(r.value) for r in broker.records("decisions.made", 0)]
    assert [(d["profile_id"], d["holdout"]) for d in made] == [(visitor, True), (person, True)]


def people_of_whom_the_visitor_is_held_out(share: float) -> tuple[str, str]:
    held = next(n for n in range(1000) if decision.holdout_number("t", f"v{n}") < share)
    spoken_to = next(n for n in range(1000) if decision.holdout_number("t", f"p{n}") >= share)
    return f"v{held}", f"p{spoken_to}"


@pytest.mark.parametrize("holdout", [0.0, 0.5])
@pytest.mark.parametrize("is_late", [False, True], ids=["row first", "click first"])
def test_who_clicks_before_the_row_is_there_is_decided_about_as_if_it_were(
        holdout: float, is_late: bool) -> None:
    visitor, person = people_of_whom_the_visitor_is_held_out(0.5)
    after = START + 9 * HOUR_MS
    told = contract("handover").decode(link(7, after)[1])
    links = [(key.encode(), contract("handover").encode({
        **told, "visitor_id": visitor, "profile_id": person, "origin_sequence": sequence}))
        for sequence, key in enumerate((person, visitor))]
    before = [event(n, visitor, "purchase", START + n * 2 * HOUR_MS) for n in range(1, 4)]
    clicks = [event(n, person, "purchase", after + n * 2 * HOUR_MS) for n in range(9, 13)]
    broker = world()
    parts = [[*before, *links, *clicks]] if is_late else [[*before, *links], clicks]
    lane = play(broker, *parts, holdout=holdout)
    people = lane.state.slab.people
    assert people.tail(people.slot(person.encode())).keys().isdisjoint({"x", "h"})
    kind = contract("decisions.made")
    made = [kind.decode(r.value) for r in broker.records("decisions.made", 0)]
    thanks = [(d["profile_id"], d["moment_ms"]) for d in made if d["playbook"] == "thanks"]
    assert thanks == [(visitor, START + n * 2 * HOUR_MS) for n in (1, 2, 3)] + [
        (person, after + n * 2 * HOUR_MS) for n in (9, 10)], "the cap of five counts both"
    assert {d["holdout"] for d in made} == {holdout > 0}


@pytest.mark.parametrize("on_its_way", [False, True])
@pytest.mark.parametrize("what", ["row", "event"])
def test_a_change_that_passes_while_something_is_on_its_way_is_looked_at(on_its_way: bool,
                                                                         what: str) -> None:
    """The change comes between the link and the row, or the event that is passed on; or after."""
    dropped = contract("item_change").encode({
        "tenant": "t", "item_id": "i1", "as_of_ms": START + HOUR_MS, "price_before_micros": 100,
        "price_micros": 50, "currency": "EUR", "was_in_stock": True, "in_stock": True,
        "appended_ms": START, "origin_partition": 0, "origin_offset": 4, "origin_sequence": 0})
    passing = [(b"t", dropped), (b"t", watermark(START + 2 * HOUR_MS))]
    broker, first = world(), [event(1, VISITOR, "product_view", START), link(2, START + MINUTE_MS)]
    if what == "event":
        first = [link(2, START), event(3, VISITOR, "product_view", START, item_id="i1")]
    playbook = replace(PLAYBOOKS[0], name="drop", audience=None, trigger=Trigger(
        "price_drop", without="purchase", within_ms=DAY_MS, events=("product_view",),
        at_least=0.1))
    for part in [[*first, *passing]] if on_its_way else [first, passing]:
        broker.logs["events.admitted", 0].extend(part)
        assert drive(broker, ChooseLogic(SideInputs(), compiled(), lambda side, tenant: (playbook,),
                                         members_min=0), 0) is not None
    assert decided(broker) == [("drop", PERSON, START + HOUR_MS)]


def test_the_visitor_leaves_their_segments_and_the_person_enters_them() -> None:
    records = [event(n, VISITOR, "product_view", START + n) for n in range(1, 4)]
    broker = world(*records, link(5, START + 10))
    lane = drive(broker, logic(), 0)
    kind, inside = contract("segments.changed"), set[tuple[str, str]]()
    for record in broker.records("segments.changed", 0):
        told = kind.decode(record.value)
        pair = (told["profile_id"], told["segment"])
        (inside.add if told["entered"] else inside.discard)(pair)
    assert inside == {(PERSON, "browser"), (PERSON, "new")}
    assert lane is not None
    assert lane.state.notes["sizes"]["t"] == {"browser": 1, "new": 1}


def test_what_had_lapsed_before_a_handover_has_lapsed_after_it() -> None:
    """A log-in told late of somebody who has been away: nobody's newest event is near the
    watermark."""
    views = [event(n, PERSON, "product_view", START + n) for n in range(1, 5)]
    views += [event(n, VISITOR, "product_view", START + n) for n in range(5, 9)]
    broker, kind, inside = world(), contract("segments.changed"), set[tuple[str, str]]()
    play(broker, [*views, (b"t", watermark(START + 30 * DAY_MS))],
         [link(10, START + 20), (b"t", watermark(START + 60 * DAY_MS))])
    told = [kind.decode(r.value) for r in broker.records("segments.changed", 0)]
    for each in told:
        pair = (each["profile_id"], each["segment"])
        (inside.add if each["entered"] else inside.discard)(pair)
    assert inside == {(PERSON, "new")}
    assert sum(each["segment"] == "browser" for each in told) == 4, "in and out once each"


def test_what_lapses_before_a_visitors_row_comes_is_told_as_of_then_without_a_watermark() -> None:
    """The person is away when the same person comes back as a visitor and logs in."""
    back_ms = START + 9 * DAY_MS
    views = [event(n, PERSON, "product_view", START + n) for n in range(1, 5)]
    views += [event(n, VISITOR, "product_view", back_ms + n) for n in range(5, 9)]
    told: list[list[tuple[bool, str, int]]] = []
    for marks in ([], [(b"t", watermark(back_ms - 1))]):
        broker, kind = world(), contract("segments.changed")
        play(broker, [*views[:4], *marks, *views[4:], link(10, back_ms + HOUR_MS)])
        changes = [kind.decode(r.value) for r in broker.records("segments.changed", 0)]
        told.append([(c["entered"], c["cause"], c["event_ms"]) for c in changes
                     if (c["profile_id"], c["segment"]) == (PERSON, "browser")])
    assert told[0] == told[1]
    (_, _, begun_ms), (_, _, lapsed_ms), (_, _, back) = told[0]
    assert told[0] == [(True, "event", begun_ms), (False, "lapse", lapsed_ms),
                       (True, "merge", back)]
    assert begun_ms < START + 7 * DAY_MS <= lapsed_ms < back_ms < back

@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_in_a_handover_changes_nothing(seed: int) -> None:
    records = story(seed, known_from=20)
    calm = world(*records)
    lane = drive(calm, logic(holdout=0.3), 0, batch=7, checkpoint_every=2)
    assert lane is not None
    rows = {key: lane.state.slab.encode(key) for key in lane.state.slab if not is_group(key)}
    told = heard(calm, "decisions.made", "decision_id")
    assert len(told) > 5
    for fuse in random.Random(seed).sample(range(calm.effects), 25):
        broker = world(*records)
        broker.fuse = fuse
        assert drive(broker, logic(holdout=0.3), 0, batch=7, checkpoint_every=2) is None
        broker.fuse = 10**9
        again = drive(broker, logic(holdout=0.3), 0, batch=7, checkpoint_every=2)
        assert again is not None
        assert heard(broker, "decisions.made", "decision_id") == told, f"{seed=} {fuse=}"
        found = {key: again.state.slab.encode(key) for key in again.state.slab
                 if not is_group(key)}
        assert {k: in_place(r)[24:] for k, r in found.items()} == {
            k: in_place(r)[24:] for k, r in rows.items()}, f"{seed=} {fuse=}"


@pytest.mark.parametrize("known", [*range(250, 257), *range(314, 322)])
def test_handovers_leave_room_for_whoever_is_new_in_the_same_batch(known: int) -> None:
    """Up to the last row, and the last byte of names, that there is room for without growing."""
    broker = world(*(event(n, f"{n:032d}", "product_view", START + n) for n in range(known)))
    assert drive(broker, logic(), 0) is not None
    links = [(b"", contract("handover").encode({
        **contract("handover").decode(link(known + k, START)[1]),
        "visitor_id": f"v{k:031d}"})) for k in range(3)]
    news = [event(known + 9 + k, f"n{k:031d}", "product_view", START + known + k)
            for k in range(3)]
    lane = play(broker, [*links, *news])
    people = tables_of(lane.state).people
    assert sorted(people) == sorted([PERSON.encode(), *(b"%032d" % n for n in range(known)),
                                     *(b"v%031d" % k for k in range(3)),
                                     *(b"n%031d" % k for k in range(3))])
