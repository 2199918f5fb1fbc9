"""Whoever is erased was never heard of: laws of erasing and merging, held against a log in which
what was erased had never happened; in any order, after any crash, with next to no memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from broker_model import Broker, drive
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_choose import erasure
from sim_rows import in_place
from test_choose_crash import PLAYBOOKS, START, heard, watermark
from test_handover import PERSON, VISITOR, event

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.choose.tables import is_group, tables_of
from streams.engine.hashing import signed_hash
from streams.engine.lane import Lane
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Trigger

OTHER = "other"
Records = list[tuple[bytes, bytes]]
ALL_KINDS = (*PLAYBOOKS, replace(PLAYBOOKS[0], name="drop", trigger=Trigger(
    "price_drop", without="purchase", within_ms=9 * DAY_MS, events=("product_view",),
    at_least=0.1)), replace(PLAYBOOKS[0], name="left", trigger=Trigger(
        "segment", segment="browser", enters=False)))


def logic() -> ChooseLogic:
    return ChooseLogic(SideInputs(), compiled(), lambda side, tenant: ALL_KINDS, members_min=0)


def links(number: int, at_ms: int) -> Records:
    """Told to the person's partition and to the visitor's."""
    return [(who.encode(), contract("handover").encode({
        "tenant": "t", "visitor_id": VISITOR, "profile_id": PERSON, "row": b"", "layout": "",
        "event": b"", "event_ms": at_ms, "appended_ms": at_ms, "stage": "admit",
        "origin_partition": 0, "origin_offset": number, "origin_sequence": sequence}))
        for sequence, who in enumerate((PERSON, VISITOR))]


def change(number: int, at_ms: int) -> tuple[bytes, bytes]:
    """An item that everybody looks at becomes cheaper."""
    return b"t", contract("item_change").encode({
        "tenant": "t", "item_id": f"i{number % 5}", "as_of_ms": at_ms, "currency": "EUR",
        "price_before_micros": 100 + number, "price_micros": 50, "was_in_stock": True,
        "in_stock": True, "appended_ms": at_ms, "origin_partition": 0, "origin_offset": number,
        "origin_sequence": 0})


Op = tuple[str, str, int]       # what, whom or which kind of event, how much later


@dataclass
class Story:
    """The log of some deeds, in parts that end where a handover or an erasure must be over; and the
    log of those of them that nobody had erased by then. A visitor and the person that they turned
    out to be are erased together, whichever of them asks.

    erased   {who: the part after which nothing of before was known of them}
    """

    ops: Sequence[Op]
    parts: list[Records] = field(default_factory=lambda: [[]])
    cut: list[Records] = field(default_factory=lambda: [[]])
    erased: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own: dict[str, list[int]] = {VISITOR: [], PERSON: [], OTHER: []}
        told, gone, moved_at = list[tuple[int, int, Records]](), set[int](), -1
        at_ms = START
        for number, (what, which, later_ms) in enumerate(self.ops):
            at_ms += later_ms
            if what in own:
                told.append((number, 0, [event(number, what, which, at_ms)]))
                own[PERSON if what == VISITOR and moved_at >= 0 else what].append(number)
            elif what == "link" and moved_at < 0:
                told.append((number, 1, links(number, at_ms)))
                own[PERSON] += [*own[VISITOR], number]
                own[VISITOR], moved_at = [], number
            elif what == "erase":
                both = (VISITOR, PERSON) if moved_at >= 0 else (which,)
                said = both if which == PERSON else (VISITOR,)
                told.append((number, 1, [erasure(number, who, at_ms, sequence=n)
                                         for n, who in enumerate(said)]))
                for who in both:
                    gone |= {number, *own[who]}
                    own[who], self.erased[who] = [], number
                moved_at = -1
            elif what == "mark":
                told.append((number, 0, [(b"t", watermark(at_ms - HOUR_MS))]))
            elif what == "change":
                told.append((number, 0, [change(number, at_ms)]))
        told.append((len(self.ops), 0, [(b"t", watermark(at_ms + 200 * DAY_MS))]))
        part_of = dict[int, int]()
        for number, ends_part, records in told:
            self.parts[-1] += records
            self.cut[-1] += [] if number in gone else records
            part_of[number] = len(self.parts) - 1
            if ends_part:
                self.parts.append([])
                self.cut.append([])
        self.erased = {who: part_of[number] for who, number in self.erased.items()}


Decided = dict[str, list[list[str]]]        # of each of them, part by part


def play(parts: Sequence[Records], *, batch: int = 5) -> tuple[Lane, Decided]:
    broker, found = Broker(partitions=1), {who: [] for who in (VISITOR, PERSON, OTHER)}
    lane, kind = None, contract(pipeline.DECISIONS)
    for part in parts:
        broker.logs[pipeline.ADMITTED, 0].extend(part)
        before = len(broker.logs[pipeline.DECISIONS, 0])
        lane = drive(broker, logic(), 0, batch=batch)
        made = [kind.decode(each.value) for each in broker.records(pipeline.DECISIONS, 0)[before:]
                if kind.is_mine(each.value)]
        for who, own in found.items():
            own.append(sorted(each["decision_id"] for each in made if each["profile_id"] == who))
    assert lane is not None and not broker.logs[pipeline.QUARANTINE, 0]
    return lane, found


def rows_of(lane: Lane) -> dict[bytes, bytes]:
    """Of everybody of whom anything is known, without the stamp."""
    people = tables_of(lane.state).people
    rows = {key: in_place(people.encode(key))[24:] for key in people}
    return {key: row for key, row in rows.items() if any(row)}


def known(lane: Lane) -> dict[str, Any]:
    tables = tables_of(lane.state)
    return {"people": tables.people_of(signed_hash("t")),
            "sizes": {name: count for name, count in lane.state.notes["sizes"].get("t", {}).items()
                      if count},
            "cared_for": tables.cared_for}


ops = st.lists(st.one_of(
    st.tuples(st.sampled_from([VISITOR, VISITOR, PERSON, PERSON, OTHER]), st.sampled_from(
        ["product_view", "product_view", "cart_add", "search", "purchase"]),
        st.sampled_from([MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, 3 * DAY_MS])),
    st.tuples(st.just("erase"), st.sampled_from([VISITOR, PERSON]), st.just(MINUTE_MS)),
    st.tuples(st.sampled_from(["link", "mark", "change"]), st.just(""),
              st.sampled_from([MINUTE_MS, DAY_MS]))), min_size=4, max_size=24)


def assert_as_if_never_heard(told: Sequence[Op], *, batch: int) -> None:
    story = Story(told)
    (lane, decided), (twin, expected) = play(story.parts, batch=batch), play(story.cut)
    assert rows_of(lane) == rows_of(twin)
    assert known(lane) == known(twin)
    for who, own in decided.items():
        since = story.erased.get(who, -1) + 1
        assert own[since:] == expected[who][since:], who
    assert decided[OTHER] == expected[OTHER]


@given(ops, st.sampled_from([1, 5, 100]))
@settings(max_examples=60, deadline=None)
def test_erased_and_heard_again_is_as_if_heard_for_the_first_time(told: list[Op],
                                                                  batch: int) -> None:
    assert_as_if_never_heard(told, batch=batch)


def drawn(seed: int, count: int = 60) -> list[Op]:
    """Two links, some erasures, among many deeds."""
    dice = random.Random(seed)
    found: list[Op] = [(dice.choice([VISITOR, PERSON, PERSON, OTHER]),
                        dice.choice(["product_view", "product_view", "cart_add", "purchase"]),
                        dice.choice([MINUTE_MS, 20 * MINUTE_MS, 5 * HOUR_MS, DAY_MS]))
                       for _ in range(count)]
    for what in ("link", "erase", "erase", "link", "mark", "mark", "change", "change"):
        found.insert(dice.randrange(count // 6, count), (
            what, dice.choice([VISITOR, PERSON]) if what == "erase" else "", MINUTE_MS))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_a_long_story_of_somebody_who_was_erased_amid_it(seed: int) -> None:
    assert_as_if_never_heard(drawn(seed), batch=7)


def test_the_stories_are_of_people_who_are_decided_about_before_and_after() -> None:
    before = after = 0
    for seed in range(12):
        story = Story(drawn(seed))
        _, decided = play(story.parts, batch=7)
        ends = story.erased.get(PERSON, -1) + 1
        before += sum(map(len, decided[PERSON][:ends]))
        after += sum(map(len, decided[PERSON][ends:]))
    assert before > 20 and after > 20


def test_of_whoever_was_erased_nothing_is_left_and_the_changelog_says_so() -> None:
    deeds = [event(n, PERSON, kind, START + n * MINUTE_MS) for n, kind in enumerate(
        ["product_view", "product_view", "product_view", "cart_add"])]
    broker = Broker(partitions=1)
    broker.logs[pipeline.ADMITTED, 0].extend(deeds)
    assert drive(broker, logic(), 0) is not None
    broker.logs[pipeline.ADMITTED, 0].append(erasure(9, PERSON, START + HOUR_MS))
    lane = drive(broker, logic(), 0)
    assert lane is not None and PERSON.encode() not in tables_of(lane.state).people
    broker.logs[pipeline.ADMITTED, 0].extend(
        event(20 + later, OTHER, "search", START) for later in range(4))
    # What is needless goes when the checkpoint that made it so is known to stand.
    assert drive(broker, logic(), 0, batch=1, checkpoint_every=1) is not None
    newest = {key: value for key, value in broker.logs["choose-changelog", 0]
              if PERSON.encode() in key}
    assert newest and not any(newest.values()), "tombstones, so that compaction removes it"
    told = [contract(pipeline.SEGMENT_CHANGES).decode(value or b"")
            for _, value in broker.logs[pipeline.SEGMENT_CHANGES, 0]]
    inside = {each["segment"] for each in told if each["entered"]}
    assert {each["segment"] for each in told if each["cause"] == "erasure"} == inside != set()
    broker.logs[pipeline.ADMITTED, 0].append((b"t", watermark(START + 300 * DAY_MS)))
    assert drive(broker, logic(), 0) is not None
    made = [contract(pipeline.DECISIONS).decode(value or b"")["playbook"]
            for _, value in broker.logs[pipeline.DECISIONS, 0]
            if contract(pipeline.DECISIONS).is_mine(value or b"")]
    assert made == ["keen"], "nobody is reminded of a cart that nobody left"


@pytest.mark.parametrize("late", [False, True], ids=["link first", "erasure between"])
def test_what_was_on_its_way_to_them_is_thrown_away_when_it_comes(late: bool) -> None:
    """The visitor's row comes behind the erasure in the log, and behind what they do next."""
    before = [event(n, VISITOR, "product_view", START + n) for n in range(1, 4)]
    told = links(7, START + HOUR_MS)
    gone = [*told, erasure(8, PERSON, START + HOUR_MS)]
    if late:
        gone = [told[0], erasure(8, PERSON, START + HOUR_MS), told[1]]
        gone[2] = (told[1][0], contract("handover").encode(
            {**contract("handover").decode(told[1][1]), "origin_offset": 9}))
    after = [event(11, PERSON, "purchase", START + DAY_MS)]
    (lane, decided), (twin, expected) = play([[*before, *gone, *after], []]), play([after, []])
    person = PERSON.encode()
    assert rows_of(lane)[person] == rows_of(twin)[person]
    assert decided[PERSON][0] == expected[PERSON][0] != []
    assert known(lane)["people"] == known(twin)["people"]


def test_erased_while_a_row_is_on_its_way_and_never_heard_again_no_row_is_left() -> None:
    lane, _ = play([[event(1, VISITOR, "product_view", START), *links(7, START + HOUR_MS),
                     erasure(8, PERSON, START + HOUR_MS)]])
    assert PERSON.encode() not in tables_of(lane.state).people
    assert known(lane) == {"people": 0, "sizes": {}, "cared_for": {}}


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_anywhere_erases_the_same(seed: int) -> None:
    records = [each for part in Story(drawn(seed)).parts for each in part]

    def outcome(broker: Broker) -> tuple[Any, ...] | None:
        lane = drive(broker, logic(), 0, batch=7, checkpoint_every=2)
        assert not broker.logs[pipeline.QUARANTINE, 0]
        return None if lane is None else (
            rows_of(lane), known(lane), heard(broker, pipeline.DECISIONS, "decision_id"),
            sorted(heard(broker, pipeline.SEGMENT_CHANGES, "change_id")),
            {key for key in lane.state.slab if is_group(key)})

    def world() -> Broker:
        broker = Broker(partitions=1)
        broker.logs[pipeline.ADMITTED, 0].extend(records)
        return broker

    calm = world()
    expected = outcome(calm)
    assert expected is not None and len(expected[2]) > 5
    for fuse in random.Random(seed).sample(range(calm.effects), 25):
        broker = world()
        broker.fuse = fuse
        assert outcome(broker) is None
        broker.fuse = 10**9
        assert outcome(broker) == expected, f"{seed=} {fuse=}"


def test_repeated_by_a_crash_upstream_it_erases_once() -> None:
    told = erasure(5, PERSON, START)
    deeds = [event(n, PERSON, "product_view", START + n) for n in (6, 7)]
    (lane, _), (twin, _) = play([[told, *deeds, told]]), play([deeds])
    assert rows_of(lane) == rows_of(twin) != {}
