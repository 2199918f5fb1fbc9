"""Two ids turn out to be one person: triggers go on as if all had been done under one."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_world import START, World, event, facts, law, playbook

from streams.choose import triggers
from streams.choose.losing import take_lost
from streams.choose.triggers import ItemChange, items
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Step, Trigger

CARES = ("product_view", "cart_add")
TRIGGERS = {
    "absence": Trigger("absence", "cart_add", "purchase", 3 * HOUR_MS, per="cart_id"),
    "sequence": Trigger("sequence", "cart_add", within_ms=9 * HOUR_MS, per="item_id", steps=(
        Step("product_view"), Step("purchase", True), Step("cart_add"))),
    "closing": Trigger("sequence", "cart_add", within_ms=9 * HOUR_MS, steps=(
        Step("product_view"), Step("cart_add"), Step("purchase", True))),
    "date": Trigger("date", "purchase", property="due", minute=9 * 60, zone="UTC",
                    otherwise="UTC", per="order_id"),
    "schedule": Trigger("schedule", "cart_add", within_ms=5 * DAY_MS, minute=9 * 60, days=(0, 2, 5),
                        zone="UTC", otherwise="UTC"),
}
DROP = Trigger("price_drop", without="purchase", within_ms=20 * HOUR_MS, events=CARES, at_least=0.1)
# (under which id, hours of one day, type, object)
stories = st.lists(st.tuples(st.booleans(), st.integers(0, 23),
                             st.sampled_from([*CARES, "purchase"]), st.sampled_from("xy")),
                   max_size=10)


def happened(story: list[tuple[bool, int, str, str]]) -> list[tuple[bool, dict[str, Any]]]:
    return [(known, event(n, kind, START + hour * HOUR_MS, item_id=about, cart_id=about,
                          order_id=about, properties_json=orjson.dumps(
                              {"due": f"2023-11-{16 + hour % 9}"}).decode()))
            for n, (known, hour, kind, about) in enumerate(story)]


@pytest.mark.parametrize("name", TRIGGERS)
@law(100)
@given(story=stories, after=stories)
def test_triggers_go_on_from_what_was_done_under_either_id(
        name: str, story: list[tuple[bool, int, str, str]],
        after: list[tuple[bool, int, str, str]]) -> None:
    told = happened([*story, *after])
    asked = playbook(TRIGGERS[name], expires_ms=30 * DAY_MS)
    person, visitor, both = World(asked), World(asked), World(asked)
    for known, each in told[:len(story)]:
        (person if known else visitor).tell(each)
    triggers.merge(person.kept, visitor.kept)
    for _, each in told[len(story):]:
        person.tell(each)
    for _, each in told:
        both.tell(each)
    for world in (person, both):
        world.reach(START + 60 * DAY_MS)
    assert facts(person.moments) == facts(both.moments)


@law(200)
@given(story=stories, after=stories, hours=st.lists(st.integers(0, 50), max_size=4))
def test_what_either_id_cared_for_is_told_once(
        story: list[tuple[bool, int, str, str]], after: list[tuple[bool, int, str, str]],
        hours: list[int]) -> None:
    told = happened([*story, *after])
    changes = [ItemChange("x", START + hour * HOUR_MS, 100, 80, "EUR", True, True)
               for hour in sorted(hours)]
    asked = playbook(DROP)
    person, visitor, both = World(asked), World(asked), World(asked)
    for known, each in told[:len(story)]:
        (person if known else visitor).tell(each)
    triggers.merge(person.kept, visitor.kept)
    for _, each in told[len(story):]:
        person.tell(each)
    for _, each in told:
        both.tell(each)
    found = [[m for change in changes for m in triggers.on_item([asked], world.kept, change, 0)]
             for world in (person, both)]
    assert facts(found[0]) == facts(found[1])


def test_a_change_that_the_visitor_was_told_of_is_not_told_to_the_person() -> None:
    asked, drop = playbook(DROP), ItemChange("x", START + 2, 100, 80, "EUR", True, True)
    kept: list[dict[str, Any]] = []
    for number in (1, 2):
        world = World(asked)
        world.tell(event(number, "product_view", START + number, item_id="x"))
        kept.append(world.kept)
    assert len(triggers.on_item([asked], kept[1], drop, 0)) == 1
    triggers.merge(kept[0], kept[1])
    assert triggers.on_item([asked], kept[0], drop, 0) == []


def test_what_is_kept_of_two_ids_has_the_bounds_of_one() -> None:
    asked = playbook(DROP)
    person, visitor = World(asked), World(asked)
    for number in range(8):
        for world, name in ((person, "p"), (visitor, "v")):
            world.tell(event(number, "product_view", START + number, item_id=f"{name}{number}"))
    with patch.object(items, "MARKS_MAX", 8):
        triggers.merge(person.kept, visitor.kept)
    newest = {f"{name}{number}" for name in "pv" for number in range(4, 8)}
    assert set(triggers.cared_for(person.kept)) == newest
    assert take_lost(person.kept) == {"p": 8}


@pytest.mark.parametrize(("bought_h", "told"), [(None, True), (2, False), (12, True)])
def test_what_was_certain_before_the_watermark_stays_so_unless_the_other_id_forbids_it(
        bought_h: int | None, told: bool) -> None:
    """A history told at once: the first match waits in `r` while newer events have decided it."""
    asked = playbook(TRIGGERS["closing"], expires_ms=30 * DAY_MS)
    person, visitor = World(asked), World(asked)
    for n, (kind, hour) in enumerate((("product_view", 0), ("cart_add", 1), ("product_view", 60))):
        visitor.tell(event(n, kind, START + hour * HOUR_MS))
    assert any("r" in own for own in visitor.kept.values())
    if bought_h is not None:
        person.tell(event(9, "purchase", START + bought_h * HOUR_MS))
    else:
        person.tell(event(9, "product_view", START + 70 * HOUR_MS))
    triggers.merge(person.kept, visitor.kept)
    person.reach(START + 60 * DAY_MS)
    assert [m.moment_ms for m in person.moments] == [START + 9 * HOUR_MS] * told
