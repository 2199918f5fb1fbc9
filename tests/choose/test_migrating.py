"""A changed definition: what both layouts have is kept to the byte, what is new begins honestly."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from feature_twin import Fast, Heard, obvious
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features import BY_NAME, SPECS, START, history

from streams.choose.features.layout import (
    FLAGS,
    HEADER_WORDS,
    HEARD,
    MASK,
    NEWEST,
    STAMP,
    STATED,
    TENANT,
    Layout,
)
from streams.choose.features.migrating import Described, Layouts, Plan, Written, lacks_since
from streams.choose.features.spec import FILTERS, FeatureSpec
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec, meaning_of
from streams.choose.tables import LAYOUT_PREFIX, Tables, group_key
from streams.engine import framed
from streams.engine.hashing import signed_hash
from streams.engine.rows import Rows
from streams.kernel.errors import StateError
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.playbooks.model import Condition

PLAIN = [spec for spec in SPECS if spec.kind != "ratio"]
TENANT_ID = signed_hash("t")


def moved(row: bytes, old: Layout, new: Layout) -> bytes:
    return Plan(Described.read(old.description), Described.read(new.description)).move(row)


def row_of(fast: Fast) -> bytes:
    _, row, _ = framed.split(fast.bytes())
    assert row is not None
    return row


def continued(old: Fast, specs: tuple[FeatureSpec, ...], *, wide: bool) -> Fast:
    """The row of `old`, under other definitions."""
    found = Fast(specs, wide=wide)
    row = row_of(old)
    v = found.rows.views
    v.u8[found.slot] = list(moved(row, old.layout, found.layout))
    return found


def cell_bytes(row: Fast) -> dict[str, bytes]:
    raw = row_of(row)
    return {name: raw[c.at:c.at + c.size] for name, c in row.layout.cells.items()}


def chosen(dice: random.Random) -> tuple[FeatureSpec, ...]:
    picked = dice.sample(PLAIN, dice.randrange(1, len(PLAIN) + 1))
    names = {spec.name for spec in picked}
    ratio = SPECS[-1]
    return (*picked, ratio) if set(ratio.of) <= names else tuple(picked)


@settings(deadline=None)      # the first one compiles
@given(st.integers(0, 10_000), st.integers(0, 60), st.booleans(),
       st.randoms(use_true_random=False))
def test_cells_of_both_layouts_hold_the_whole_history_and_new_ones_what_came_since(
        seed: int, before: int, wide: bool, dice: random.Random) -> None:
    events, old, new = history(seed, 60, items=30), chosen(dice), chosen(dice)
    mine = continued(Fast(old, wide=wide).take(*events[:before]), new, wide=wide)
    mine.take(*events[before:])
    whole = cell_bytes(Fast(new, wide=wide).take(*events))
    since = cell_bytes(Fast(new, wide=wide).take(*events[before:]))
    shared = Fast(old, wide=wide).layout.cells
    assert cell_bytes(mine) == {name: (whole if name in shared else since)[name]
                                for name in mine.layout.cells}


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60), st.randoms(use_true_random=False))
def test_features_of_both_are_those_of_the_whole_history_and_new_ones_those_of_the_rest(
        seed: int, before: int, dice: random.Random) -> None:
    """Against the obvious twin, which knows neither cells nor layouts."""
    events, old, new = history(seed, 60), chosen(dice), chosen(dice)
    mine = continued(Fast(old).take(*events[:before]), new, wide=False).take(*events[before:])
    at_ms = max(e.event_ms for e in events)
    carried = mine.layout.cells.keys() & Fast(old).layout.cells.keys()
    for spec in new:
        if spec.kind in ("ratio", "rfm") or spec.name == "top_items":
            continue     # of several features, each by itself here; more texts than have room
        own = set(Fast((spec,)).layout.cells)
        if spec.max_age_ms and own & carried and not own <= carried:
            continue     # others keep its age, and not what it counts; the other way round: below
        if spec.kind not in ("lifetime", "since", "mean_gap"):
            own = {cell for cell in own if not cell.startswith("4/0 ")}    # first and last time
        heard = events if own <= carried else events[before:]
        expected = obvious(spec, heard, at_ms, BY_NAME)
        found = mine.value(spec.name, at_ms)
        assert found == (expected if isinstance(expected, list | str | None) else
                         pytest.approx(expected, rel=1e-4, abs=1e-6)), spec.name


def test_a_value_whose_age_no_row_kept_is_not_served_as_a_fresh_one() -> None:
    """Builds that knew the age of a text by any event of its type have handed on no other."""
    text = {"of": ("category",), "most": 1}
    aged = {"max_age_ms": DAY_MS}
    views = FeatureSpec("views", "view", "count", 90 * DAY_MS)
    kinds = FeatureSpec("kinds", "view", "distinct", 90 * DAY_MS, of=("category",))
    specs = (views, kinds, FeatureSpec("ever", "view", "most_frequent", 90 * DAY_MS, **text),
             FeatureSpec("fav", "view", "most_frequent", 90 * DAY_MS, **text, **aged),
             FeatureSpec("last", "view", "unique_list", 90 * DAY_MS, **text, **aged),
             replace(kinds, name="fresh", **aged),
             FeatureSpec("each", "view", "ratio", of=("kinds", "views"), **aged),
             FeatureSpec("per", "view", "ratio", of=("views", "kinds"), **aged))
    mine, old, new = Fast(specs), Fast(specs), Fast(specs).layout
    old.take(*[Heard(n, "view", START + n, category="shoes") for n in range(3)])
    before = "\n".join(line.replace(" 4/0 ", " 4/9 ") if line.endswith("for=category") else line
                       for line in old.layout.description.splitlines())
    plan = Plan(Described.read(before), Described.read(new.description))
    mine.rows.views.u8[mine.slot] = list(plan.move(row_of(old)))
    for at_ms in (START + HOUR_MS, START + 20 * DAY_MS):
        assert mine.value("ever", at_ms) == "shoes" and mine.value("kinds", at_ms) == 1
        assert {mine.value(name, at_ms) for name in ("fav", "last", "fresh", "each", "per")} == {
            None}
    mine.take(Heard(9, "view", START + 20 * DAY_MS, category="hats"))
    at_ms = START + 20 * DAY_MS + HOUR_MS
    assert [mine.value(name, at_ms) for name in ("fav", "last", "fresh", "each", "per")] == [
        "shoes", ["hats"], 2, 0.5, 2]
    nobody = Fast(specs)
    assert [nobody.value(name, at_ms) for name in ("fav", "last", "fresh", "per")] == [
        None, None, 0, None]


def test_a_new_sum_is_never_divided_by_an_old_count() -> None:
    mean = FeatureSpec("basket", "purchase", "mean", 30 * DAY_MS, of=("value",))
    units = FeatureSpec("units", "purchase", "mean", 30 * DAY_MS, of=("quantity",))
    spread = FeatureSpec("spread", "purchase", "variance", 30 * DAY_MS, of=("value",))
    first = FeatureSpec("first", "purchase", "first", of=("value",))
    bought = [Heard(n, "purchase", START + n, value=8.0, quantity=2.0) for n in range(4)]
    mine = continued(Fast((mean,)).take(*bought), (mean, units, spread, first), wide=False)
    at_ms = START + HOUR_MS
    assert mine.value("basket", at_ms) == 8.0
    assert [mine.value(name, at_ms) for name in ("units", "spread", "first")] == [None] * 3
    mine.take(Heard(9, "purchase", at_ms, value=8.0, quantity=2.0))
    assert [mine.value(name, at_ms) for name in ("units", "spread", "first")] == [2.0, 0.0, 8.0]


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 30))
def test_the_newest_ids_stay_remembered_whatever_room_there_was_and_is(old: int, new: int,
                                                                       heard: int) -> None:
    layouts = [Layout(SPECS[:1], recent_ids=room, where_fields=FILTERS) for room in (old, new)]
    rows = Rows(row_bytes=layouts[0].row_bytes, layout=layouts[0].id)
    words = rows.views.i64[rows.slot(b"p")]
    for number in range(1, heard + 1):                   # as `kernel._heard` does
        if old:
            words[HEADER_WORDS + words[HEARD] % old] = number
            words[HEARD] += 1
    made = memoryview(moved(words.tobytes(), *layouts)).cast("q")
    kept = sorted(made[HEADER_WORDS + n] for n in range(new) if made[HEADER_WORDS + n])
    assert kept == list(range(1, heard + 1))[heard - min(heard, old, new):]
    if new and kept and old != new:                      # the next one replaces the oldest
        at = made[HEARD] % new
        assert made[HEADER_WORDS + at] in (0, kept[0])


A, B, C = (SegmentSpec(name, Condition("feature", name="views_1h", compare="at_least",
                                       number=number)) for name, number in
           (("a", 1), ("b", 2), ("c", 3)))


def with_segments(*segments: SegmentSpec) -> Layout:
    return Layout(SPECS, segments=tuple((s.name, meaning_of(s, SPECS)) for s in segments))


@pytest.mark.parametrize(("old", "new", "mask", "expected", "stays"), [
    ((A, B), (B, A), 0b01, 0b10, False), ((A, B, C), (C, A), 0b111, 0b11, False),
    ((A, B), (A, B), 0b10, 0b10, True), ((A,), (B,), 0b1, 0, False),
    ((A, B), (C, A, B), 0b10, 0b100, False)])
def test_members_stay_members_by_name(old: Any, new: Any, mask: int, expected: int,
                                      stays: bool) -> None:
    one, other = with_segments(*old), with_segments(*new)
    words = [0] * (one.row_bytes // 8)
    words[MASK], words[FLAGS], words[STAMP] = mask, STATED | 2, 77
    row = b"".join(word.to_bytes(8, "little") for word in words)
    made = memoryview(moved(row, one, other)).cast("q")
    assert (made[MASK], made[FLAGS], made[STAMP]) == (expected, 2 | stays * STATED, 77)


def test_a_segment_means_its_rule_and_the_features_it_asks_for() -> None:
    ratio = SegmentSpec("r", Condition("feature", name="per_order", compare="above", number=1))
    other = {"spend_30d": FeatureSpec("spend_30d", "purchase", "sum", 7 * DAY_MS, of=("value",)),
             "views_1h": FeatureSpec("views_1h", "search", "count", HOUR_MS)}
    changed = tuple(other.get(spec.name, spec) for spec in SPECS)
    unrelated = tuple(spec for spec in SPECS if spec.name != "warm")
    for spec in (A, ratio):
        assert meaning_of(spec, SPECS) == meaning_of(spec, unrelated)
        assert meaning_of(spec, SPECS) != meaning_of(spec, changed)
    assert meaning_of(A, SPECS) != meaning_of(B, SPECS)


# Through tables, as a partition's owner has them.

VIEWS, SPEND = BY_NAME["views_1h"], BY_NAME["spend_30d"]
ORDERS, SINCE = BY_NAME["orders"], BY_NAME["since"]
LAST = BY_NAME["last_spend"]
RATIO = BY_NAME["per_order"]


def changelog(tables: Tables) -> dict[bytes, bytes | None]:
    return {key: tables.encode(key) for key in tables.take_dirty()}


def recovered(program: Program, *logs: dict[bytes, bytes | None]) -> Tables:
    tables = program.tables()
    for log in logs:
        for key, value in log.items():
            tables.apply(key, value)
    tables.settle()
    return tables


def heard(tables: Tables, person: bytes, newest_ms: int, tenant: str = "t") -> int:
    slot = tables.people.slot(person)
    words = tables.people.views.i64[slot]
    words[TENANT], words[NEWEST] = signed_hash(tenant), newest_ms
    tables.people.stamp(slot, 0)
    return slot


def test_a_row_of_an_older_layout_is_read_wherever_its_description_stands() -> None:
    one, two = Program((VIEWS,), ()), Program((SPEND, VIEWS), ())
    old = one.tables()
    heard(old, b"p", START)
    old.groups.views.dirty[old.groups.slot(group_key("t", ""))] = 1
    log = changelog(old)
    assert [key.startswith(LAYOUT_PREFIX) for key in log] == [True, True, False, False]
    for order in (log, dict(reversed(log.items()))):
        found = recovered(two, order)
        assert found.people.views.i64[found.people.slot(b"p"), NEWEST] == START
        assert len(found) == 2
    rows_only = {key: value for key, value in log.items() if not key.startswith(LAYOUT_PREFIX)}
    with pytest.raises(StateError, match="does not say how the other one is laid out"):
        recovered(two, rows_only)


def test_what_replaces_a_row_that_could_not_be_read_yet_counts() -> None:
    one, two = Program((VIEWS,), ()), Program((SPEND, VIEWS), ())
    old = one.tables()
    heard(old, b"p", START)
    heard(old, b"q", START)
    log = dict(reversed(changelog(old).items()))
    told = {key: log.pop(key) for key in list(log) if key.startswith(LAYOUT_PREFIX)}
    new = two.tables()
    heard(new, b"p", START + 5)
    again = {key: value for key, value in changelog(new).items() if key == b"p"}
    found = recovered(two, log, again, {b"q": None}, told)
    assert list(found.people) == [b"p"]
    assert found.people.views.i64[found.people.slot(b"p"), NEWEST] == START + 5


def test_a_new_feature_says_since_when_it_counts_until_its_window_is_whole() -> None:
    old = Program((VIEWS, ORDERS, SINCE), ()).tables()
    heard(old, b"p", START)
    heard(old, b"q", START - DAY_MS)
    heard(old, b"stranger", START + 9 * DAY_MS, tenant="other")
    program = Program((SPEND, VIEWS, ORDERS, SINCE, LAST, RATIO), ())
    found = recovered(program, changelog(old))
    slot = found.people.slot(b"p")

    def lacking(at_ms: int, person: bytes = b"p") -> dict[str, int]:
        said = program.snapshot(found, found.people, found.people.slot(person), at_ms)
        return {name: each["since_ms"] for name, each in said.items() if "since_ms" in each}

    assert lacking(START + DAY_MS) == {"spend_30d": START, "last_spend": START,
                                       "per_order": START}
    assert lacking(START + DAY_MS, b"q") == lacking(START + DAY_MS)
    assert lacking(START, b"stranger")["spend_30d"] == START + 9 * DAY_MS
    heard(found, b"late", START, tenant="newcomer")      # was not heard of when it began
    assert lacking(START, b"late") == {}
    assert "spend_30d" in lacking(START + 30 * DAY_MS - 1)
    assert lacking(START + 30 * DAY_MS) == {"last_spend": START}
    times = next(c.at for s, c in program.people.cells.items()
                 if s.startswith("4/0 purchase")) // 8
    found.people.views.i64[slot, times + 1] = START + 1  # a purchase since: the last one is known
    assert lacking(START + 30 * DAY_MS) == {}


def test_coverage_is_kept_from_owner_to_owner_and_begins_anew_for_what_was_gone() -> None:
    with_spend, without = Program((VIEWS, SPEND), ()), Program((VIEWS,), ())
    first = without.tables()
    heard(first, b"p", START)
    logs = [changelog(first)]

    def since(program: Program, newest_ms: int) -> int | None:
        tables = recovered(program, *logs)
        slot = tables.people.slot(b"p")
        said = program.snapshot(tables, tables.people, slot, newest_ms)
        heard(tables, b"p", newest_ms)
        logs.append(changelog(tables))
        return said.get("spend_30d", {}).get("since_ms")

    assert since(with_spend, START + 1) == START
    assert since(with_spend, START + 2) == START
    assert since(without, START + 3) is None
    assert since(with_spend, START + 4) == START + 3


def test_groups_say_since_when_they_count_too() -> None:
    old = Program((VIEWS,), ()).tables()
    heard(old, b"p", START)
    program = Program((VIEWS, SPEND), ())
    found = recovered(program, changelog(old))
    slot = found.groups.slot(group_key("t", ""))
    said = program.snapshot(found, found.groups, slot, START)
    assert said["spend_30d"]["since_ms"] == START and "since_ms" not in said["views_1h"]


def test_a_layout_is_written_once_and_after_every_change() -> None:
    program = Program((VIEWS,), ())
    tables = program.tables()
    assert tables.dirty
    log = changelog(tables)
    assert len(log) == 2 and not tables.dirty and changelog(tables) == {}
    again = recovered(program, log)
    assert not again.dirty
    assert {key: again.encode(key) for key in log} == log
    changed = recovered(Program((VIEWS, SPEND), ()), log)
    assert changed.dirty and len(changelog(changed)) == 2
    assert {key: changed.encode(key) for key in log} == log     # the old one is still told


@pytest.mark.parametrize("line", ["hexagons 4", "recent", "recent x", "recent 1 2", "cell 1 a 4/0",
                                  "cell 1 2", "segment a", ""])
def test_a_description_nobody_wrote_is_refused_in_one_sentence(line: str) -> None:
    layouts = Layouts(Layout((SPEND,)), b"x")
    layouts.learn(b"x\0\0\0\x01", Written(1, f"recent 16\n{line}", {}).encode())
    with pytest.raises(StateError, match=f"described by '{line}', which"):
        layouts.migrate(1, b"", {})


def test_a_layout_nobody_described_is_not_read() -> None:
    layouts = Layouts(Layout((SPEND,)), b"x")
    assert layouts.migrate(2, b"", {}) is None
    layouts.learn(b"x\0\0\0\x03", Written(1, Layout((VIEWS,)).description, {}).encode())
    assert layouts.migrate(3, bytes(8), {}) is None, "a row of another length is not of it"


def test_a_filter_may_hold_any_text() -> None:
    odd = FeatureSpec("odd", "view", "count", HOUR_MS, where=("category", "a\nrecent 3\u2028 é]"))
    layout = Layout((VIEWS, odd), where_fields=FILTERS)
    assert Described.read(layout.description).cells == {
        signature: (c.at, c.size) for signature, c in layout.cells.items()}
    assert Described.read(layout.description).row_bytes == layout.row_bytes
    assert orjson.loads(Written(1, layout.description, {}).encode())["number"] == 1


def test_decay_is_whole_when_what_it_lacks_weighs_nothing() -> None:
    warm = BY_NAME["warm"]
    assert lacks_since(warm, START, START + 32 * DAY_MS - 1, None) == START
    assert lacks_since(warm, START, START + 32 * DAY_MS, None) is None
    assert lacks_since(warm, 0, START, None) is None
