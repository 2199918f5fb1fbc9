"""What bounds make a person's triggers forget is told, once a day of a person and playbook."""

from __future__ import annotations

from broker_model import Broker
from test_choose_crash import START
from test_handover import PERSON, VISITOR, event, link, play, world

from schemas import contract
from streams.choose.watches import OBJECTS_MAX
from streams.kernel.moments import DAY_MS

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
