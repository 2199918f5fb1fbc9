"""What bounds make a person's triggers forget is told, once a day of a person and playbook."""

from __future__ import annotations

from dataclasses import replace

import pytest
from broker_model import Broker, drive
from test_choose_crash import PLAYBOOKS, START, watermark
from test_handover import PERSON, VISITOR, event, link, play, world

from schemas import contract
from streams.choose import item_changes
from streams.choose.agent import ChooseLogic
from streams.choose.awaiting import HELD_MAX, VISITORS_MAX
from streams.choose.definitions import compiled
from streams.choose.watches import OBJECTS_MAX
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Trigger

# One more cart than is kept, all open at once, and none bought.
CARTS = [event(n, PERSON, "cart_add", START + n, cart_id=f"c{n}") for n in range(OBJECTS_MAX + 3)]


def told(broker: Broker) -> list[tuple[str, str]]:
    kind = contract("refusals.recorded")
    found = [kind.decode(r.value) for r in broker.records("refusals.recorded", 0)]
    return [(f["playbook"], f["profile_id"]) for f in found if f["reason"] == "kept_too_much"]


def test_more_open_carts_than_are_kept_are_told_of_once_a_day() -> None:
    broker = world()
    play(broker, CARTS)
    assert told(broker) == [("cart", PERSON)]
    play(broker, [event(100 + n, PERSON, "cart_add", START + DAY_MS + n, cart_id=f"d{n}")
                  for n in range(OBJECTS_MAX + 3)])
    assert told(broker) == [("cart", PERSON)] * 2


def test_nothing_is_told_where_all_is_kept() -> None:
    broker = world()
    play(broker, CARTS[:OBJECTS_MAX])
    assert told(broker) == []


def test_what_is_too_much_for_two_who_turn_out_to_be_one_is_told() -> None:
    half = OBJECTS_MAX // 2 + 2
    broker = world()
    play(broker, [event(n, who, "cart_add", START + n, cart_id=f"c{n}")
                  for n, who in enumerate([VISITOR, PERSON] * half)],
         [link(2 * half, START + 4 * half)])
    assert told(broker) == [("cart", PERSON)]


def announced(number: int, visitor: str) -> list[tuple[bytes, bytes]]:
    """A link as it is told to both: the person hears of it first."""
    kind = contract("handover")
    told = kind.decode(link(number, START)[1])
    return [(key.encode(), kind.encode({**told, "visitor_id": visitor, "origin_sequence": n}))
            for n, key in enumerate((PERSON, visitor))]


def test_moments_for_which_there_is_no_room_while_a_row_is_awaited_are_left_out() -> None:
    """Decided without the row, they would not know of the visitor's caps and hold-out."""
    clicks = [event(n, PERSON, "purchase", START + n * MINUTE_MS)
              for n in range(3, HELD_MAX + 8)]
    seen = []
    for more in (0, 5):
        broker = world()
        play(broker, [event(1, VISITOR, "purchase", START), *announced(2, VISITOR),
                      *clicks[:HELD_MAX + more]])
        assert told(broker) == [("thanks", PERSON)] * more
        kind = contract("decisions.made")
        seen.append([kind.decode(r.value)["decision_id"]
                     for r in broker.records("decisions.made", 0)])
    assert seen[0] == seen[1] != [], "of what was left out nothing is decided"


@pytest.mark.parametrize("more", [0, 1, 40])
def test_however_many_visitors_turn_out_to_be_one_person_all_are_awaited_and_none_in_vain(
        more: int) -> None:
    """A click between what announces them and their rows: the visitors bought four times each."""
    visitors = [f"v{n}" for n in range(VISITORS_MAX + more)]
    bought = [event(n, each, "purchase", START + n * MINUTE_MS) for n, each in enumerate(visitors)]
    links = [told for n, each in enumerate(visitors) for told in announced(100 + n, each)]
    broker = world()
    lane = play(broker, [*bought, *links, event(900, PERSON, "purchase", START + DAY_MS)])
    assert told(broker) == []
    kind = contract("decisions.made")
    spoken_to = [kind.decode(r.value)["profile_id"] for r in broker.records("decisions.made", 0)
                 if kind.is_mine(r.value)]
    assert spoken_to == visitors, "with what is known of them the cap of five is full"
    tail = lane.state.slab.people.tail(lane.state.slab.people.slot(PERSON.encode()))
    assert not {"h", "x", "xn"} & tail.keys()


@pytest.mark.parametrize("remembered", [1, 2])
def test_changes_that_nobody_remembers_for_a_row_on_its_way_are_told_of(
        monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    monkeypatch.setattr(item_changes, "PASSED_MAX", remembered)
    playbook = replace(PLAYBOOKS[0], name="drop", audience=None, trigger=Trigger(
        "price_drop", without="purchase", within_ms=DAY_MS, events=("product_view",),
        at_least=0.1))
    drops = [(b"t", contract("item_change").encode({
        "tenant": "t", "item_id": item, "as_of_ms": START + (2 + n) * HOUR_MS,
        "price_before_micros": 100, "price_micros": 50, "currency": "EUR", "was_in_stock": True,
        "in_stock": True, "appended_ms": START, "origin_partition": 0, "origin_offset": 4 + n,
        "origin_sequence": 0})) for n, item in enumerate(("i1", "i9"))]
    broker = world(event(1, VISITOR, "product_view", START), link(2, START + MINUTE_MS), *drops,
                   (b"t", watermark(START + 5 * HOUR_MS)))
    assert drive(broker, ChooseLogic(SideInputs(), compiled(), lambda side, tenant: (playbook,),
                                     members_min=0), 0) is not None
    assert told(broker) == ([("drop", PERSON)] if remembered == 1 else [])
    made = [contract("decisions.made").decode(r.value)["object_id"]
            for r in broker.records("decisions.made", 0)
            if contract("decisions.made").is_mine(r.value)]
    assert made == ([] if remembered == 1 else ["i1"])
