"""Lists of people and traits: what rules over them say, and how they are read and refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.choose.definitions import check, load
from streams.choose.features.layout import Layout
from streams.choose.features.lists import ListFault, PeopleList, is_listed, read_list
from streams.choose.features.merging import merge
from streams.choose.features.migrating import Described, Plan
from streams.choose.features.rules import compile_rules, members_mask
from streams.choose.features.spec import FeatureSpec
from streams.choose.features.updating import update
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec, meaning_of, members_of
from streams.engine.hashing import hash_of, signed_hash
from streams.engine.rows import Rows
from streams.kernel.moments import DAY_MS
from streams.playbooks.conditions import Asked, Known, parse_condition, show_condition

IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
FIELDS = ("country", "locale")
SPECS = (FeatureSpec("orders", "purchase", "count", window_ms=30 * DAY_MS),
         FeatureSpec("spend", "purchase", "sum", window_ms=7 * DAY_MS, of=("value",)),
         FeatureSpec("ever", "*", "lifetime"))


@settings(deadline=None)
@given(st.lists(IDS, max_size=60), st.lists(IDS, max_size=20))
def test_a_list_holds_exactly_whom_its_file_names(named: list[str], others: list[str]) -> None:
    found = read_list("l", "\n".join(named).encode())
    for profile_id in named + others:
        assert (profile_id in found) == (profile_id in set(named))
    assert np.all(np.diff(found.places) > 0)


@given(st.lists(IDS, min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_order_repeats_comments_and_line_ends_mean_nothing(named: list[str],
                                                           dice: random.Random) -> None:
    untidy = [f" {each}\t# kept" for each in named + named[:3]] + ["", "# a comment", "   "]
    dice.shuffle(untidy)
    assert read_list("l", "\r\n".join(untidy).encode()) == read_list("l", "\n".join(named).encode())


@pytest.mark.parametrize("line", ["customer-17", "A" * 32, "a" * 31, "a" * 33, "ab " * 11])
def test_what_is_no_profile_id_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ListFault, match="is no profile id") as told:
        read_list("l", f"{'a' * 32}\n\n{line}\n".encode())
    assert told.value.line == 3 and "segments list" in told.value.remedy


def test_people_are_found_at_both_ends_of_their_own_list_only() -> None:
    numbers = np.array([1.0, 5.0, 9.0, 2.0, 3.0])
    for place, inside in ((1, True), (5, True), (9, True), (2, False), (3, False), (10, False)):
        assert is_listed(numbers, 0, 3, np.uint64(place << 11)) == inside
    assert is_listed(numbers, 3, 5, np.uint64(3 << 11)) and not is_listed(numbers, 3, 3, 0)


def asking(lists: dict[str, PeopleList]) -> tuple[SegmentSpec, ...]:
    rules = ({"list": "vip"}, {"trait": "country", "is": "DE"},
             {"all": [{"not": {"list": "staff"}}, {"trait": "locale", "is": ["de", "de-AT"]}]},
             {"any": [{"list": "staff"}, {"segment": "s1"}]})
    names = [f"s{n}" for n in range(len(rules))]
    return tuple(SegmentSpec(name, parse_condition(
        rule, features=(), segments=names, asked=Asked(lists=lists)), None, tuple(lists.values()))
        for name, rule in zip(names, rules, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_compiled_rules_say_what_the_plain_conditions_say(seed: int) -> None:
    dice = random.Random(seed)
    people = [f"{dice.getrandbits(128):032x}" for _ in range(60)]
    lists = {name: read_list(name, "\n".join(dice.sample(people, 20)).encode())
             for name in ("vip", "staff")}
    specs = asking(lists)
    layout = Layout(SPECS, where_fields=FIELDS, traits=FIELDS)
    rows = Rows(row_bytes=layout.row_bytes, layout=layout.id)
    rules = compile_rules([s.rule for s in specs], layout, [s.name for s in specs], None,
                          [*lists.values()])
    seen: set[str] = set()
    for person in people:
        traits = {"country": dice.choice(["DE", "AT", ""]), "locale": dice.choice(["de", "de-AT"])}
        slot, v = rows.slot(person.encode()), rows.views
        for name, word in layout.traits.items():
            v.i64[slot, word] = signed_hash(traits[name]) if traits[name] else 0
        mask = members_mask(rules.starts, rules.steps, rules.numbers, layout.reads, v.u8, v.u16,
                            v.i64, slot, 0, np.uint64(hash_of(person)))
        known = Known(trait=traits.__getitem__, in_list=lambda name, p=person: p in lists[name])
        expected = members_of(specs, lambda name: None, known)
        assert [s.name for n, s in enumerate(specs) if mask >> n & 1] == expected
        seen.update(expected)
    assert seen == {"s0", "s1", "s2", "s3"}


def taken(layout: Layout, *told: str) -> Rows:
    """A row that has heard events which say these countries, in the order of the log."""
    rows = Rows(row_bytes=layout.row_bytes, layout=layout.id)
    slot, v = rows.slot(b"p"), rows.views
    for offset, country in enumerate(told):
        update(layout.ops, layout.op_starts[0], layout.op_starts[1], v.u8, v.u16, v.i64, slot, 1,
               offset, 0, 0, np.array([signed_hash(country), signed_hash("")], np.int64),
               np.zeros(1, np.uint64), 0, 0, np.zeros((0, 5), np.int64), 1)
    return rows


LAYOUT = Layout((), where_fields=FIELDS, traits=FIELDS)


def country(rows: Rows) -> int:
    return int(rows.views.i64[rows.slot(b"p"), LAYOUT.traits["country"]])


def test_the_last_word_in_the_log_counts_and_silence_takes_nothing_back() -> None:
    assert country(taken(LAYOUT, "", "")) == 0
    assert country(taken(LAYOUT, "DE", "AT", "")) == signed_hash("AT")


@pytest.mark.parametrize(("person", "visitor", "expected"), [
    (["DE"], ["AT"], "DE"), ([""], ["AT"], "AT"), (["DE"], [], "DE")])
def test_of_person_and_visitor_the_persons_word_counts(person: list[str], visitor: list[str],
                                                       expected: str) -> None:
    into, other = taken(LAYOUT, *person), taken(LAYOUT, *visitor)
    merge(LAYOUT, into.views.u8[0], other.views.u8[0])
    assert country(into) == signed_hash(expected)


def test_a_trait_outlives_a_changed_layout_and_a_new_one_is_not_known() -> None:
    country_only = Layout(SPECS, where_fields=("country",), traits=("country",))
    rows = taken(country_only, "DE")
    new = Layout(SPECS[:2], where_fields=FIELDS, traits=FIELDS)
    row = Plan(Described.read(country_only.description), Described.read(new.description)).move(
        rows.views.u8[rows.slot(b"p")].tobytes())
    words = np.frombuffer(row, np.int64)
    assert words[new.traits["country"]] == signed_hash("DE")
    assert words[new.traits["locale"]] == 0


def test_rows_of_groups_and_of_those_who_ask_for_no_trait_have_no_room_for_one() -> None:
    plain, asked = (Program(SPECS, tuple(SegmentSpec("s", parse_condition(
        rule, features={"orders"}, segments=(), asked=Asked()), None)
        for rule in rules)) for rules in ((), ({"trait": "country", "is": "DE"},)))
    assert asked.people.row_bytes == plain.people.row_bytes + 8
    assert asked.groups.row_bytes == plain.groups.row_bytes
    assert plain.people.traits == {}


def folder(tmp_path: Path, rule: str, **lists: str) -> Path:
    (tmp_path / "segments.yml").write_text(f"version: 1\nsegments:\n  asked: {rule}\n")
    (tmp_path / "lists").mkdir()
    for name, text in lists.items():
        (tmp_path / "lists" / f"{name}.txt").write_text(text)
    return tmp_path


def test_definitions_find_lists_in_their_folder(tmp_path: Path) -> None:
    found = load(folder(tmp_path, "{list: vip}", vip="a" * 32, unused="b" * 32)).segments[0]
    assert [each.name for each in found.lists] == ["vip"] and "a" * 32 in found.lists[0]
    assert show_condition(found.rule) == "on the list vip"


def test_another_list_of_the_same_name_is_a_changed_segment(tmp_path: Path) -> None:
    spec = load(folder(tmp_path, "{list: vip}", vip="a" * 32)).segments[0]
    (tmp_path / "lists" / "vip.txt").write_text("b" * 32)
    assert meaning_of(spec, ()) != meaning_of(load(tmp_path).segments[0], ())


@pytest.mark.parametrize(("rule", "said"), [
    ("{list: nobody}", "unknown list 'nobody' — there are vip"),
    ("{list: vip, at_least: 1}", "stands alone"),
    ("{trait: plan, is: gold}", "there are country, locale, timezone"),
    ("{trait: country}", "takes {trait: country, is: DE}"),
    ("{trait: country, is: 49}", "'is' takes a text or a list of texts"),
    ("{trait: country, is: []}", "'is' takes a text or a list of texts"),
    ("{trait: country, is: ''}", "'is' takes a text"),
])
def test_a_bad_rule_is_refused_with_its_line(tmp_path: Path, rule: str, said: str) -> None:
    faults = check(folder(tmp_path, rule, vip="a" * 32))
    assert [fault.line for fault in faults] == [3] and said in str(faults[0])


def test_a_bad_list_is_refused_with_file_and_line(tmp_path: Path) -> None:
    faults = check(folder(tmp_path, "{list: vip}", vip="# ids\nalice@example.org\n"))
    assert len(faults) == 1 and "vip.txt" in str(faults[0]) and faults[0].line == 2


def test_where_there_is_no_list_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert "kairos segments list" in str(check(folder(tmp_path, "{list: vip}"))[0])


@pytest.mark.parametrize("body", [{"list": "vip"}, {"trait": "country", "is": "DE"}])
def test_a_playbook_asks_for_the_segment_instead(body: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="declare a segment"):
        parse_condition(body, features=(), segments=())
