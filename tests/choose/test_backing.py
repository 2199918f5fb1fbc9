"""Features with little behind them lean on groups, against a twin that counts all events anew."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from feature_twin import Heard, obvious
from hypothesis import given
from hypothesis import strategies as st

from schemas import contract
from streams.choose import profiles
from streams.choose.agent import ChooseLogic
from streams.choose.backing import Backing
from streams.choose.definitions import check, load
from streams.choose.features.backing_off import Level, lean
from streams.choose.features.spec import PER_HEAD, FeatureSpec
from streams.choose.program import Program
from streams.choose.segments import SegmentSpec
from streams.choose.tables import tables_of
from streams.compose.brief import signals_of
from streams.engine import checkpoints
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.conditions import Asked, parse_condition
from streams.playbooks.model import Playbook, Trigger, Variant

START, PEOPLE = 1_600_000_000_000, [f"p{n}" for n in range(30)]
SPECS = (
    FeatureSpec("views_7d", "product_view", "count", 7 * DAY_MS, back_off=3),
    FeatureSpec("spend_30d", "purchase", "sum", 30 * DAY_MS, of=("value",), back_off=2),
    FeatureSpec("pace", "product_view", "rate", DAY_MS, back_off=4),
    FeatureSpec("warm", "product_view", "decay", half_life_ms=DAY_MS, back_off=3),
    FeatureSpec("orders", "purchase", "lifetime", back_off=2),
    FeatureSpec("basket", "purchase", "mean", 30 * DAY_MS, of=("value",), back_off=5),
    FeatureSpec("per_order", "purchase", "ratio", of=("spend_30d", "orders"), back_off=3),
    FeatureSpec("fresh", "purchase", "sum", 30 * DAY_MS, max_age_ms=2 * DAY_MS, of=("value",),
                back_off=1),
    FeatureSpec("plain", "purchase", "count", 30 * DAY_MS),
)
BY_NAME = {spec.name: spec for spec in SPECS}
SEGMENTS = tuple(SegmentSpec(name, parse_condition(
    {"bucket": {"name": "b", "from": low, "to": high}}, features=None, segments=None,
    asked=Asked(None, None))) for name, low, high in (("few", 0, 10), ("many", 0, 60)))
ASKS = Playbook(name="asks", trigger=Trigger("event", "search"), brief="b",
                variants=(Variant("a", "reminder"),), conversion="purchase", window_ms=DAY_MS,
                expires_ms=DAY_MS, cooldown_ms=0, tenant="t", version=1, cap_messages=10**6)
KIND, ROLLED = contract("events.admitted"), contract("segments.rolled")


class Shop:
    """Some partitions, and everything that was ever heard."""

    def __init__(self, partitions: int, members_min: int) -> None:
        self.side, self.program = SideInputs(), Program(SPECS, SEGMENTS)
        self.logic = ChooseLogic(self.side, self.program, lambda side, tenant: (ASKS,),
                                 members_min=members_min)
        self.states: list[PartitionState] = []
        for part in range(partitions):
            state = checkpoints.fresh(self.logic, part, partitions)
            self.logic.recovered(state)
            self.states.append(state)
        self.heard: dict[str, list[Heard]] = {}
        self.number = 0

    def hear(self, person: str, kind: str, at_ms: int, value: float = 0.0) -> dict[str, Any] | None:
        """One event; the features of the decision that it led to, if any."""
        self.number += 1
        state = self.states[partition_of(person.encode(), len(self.states))]
        if kind != "search":
            self.heard.setdefault(person, []).append(Heard(self.number, kind, at_ms, value))
        else:
            self.heard.setdefault(person, [])
        out = Out("choose", 1)
        self.logic.walk(state, [Record("events.admitted", state.partition, self.number,
                                       person.encode(), KIND.encode({
            "event_id": f"e{self.number}", "tenant": "t", "event_type": kind, "event_ms": at_ms,
            "appended_ms": at_ms, "profile_id": person, "purposes": 15,
            "value_micros": round(value * 1_000_000), "origin_partition": 0,
            "origin_offset": self.number, "origin_sequence": 0}), at_ms)], out)
        made = [contract("decisions.made").decode(e.value or b"") for e in out.emissions
                if e.topic == "decisions.made"]
        return orjson.loads(made[0]["features_json"]) if made else None

    def tell(self) -> None:
        """All partitions say their groups, and everybody hears it."""
        for state in self.states:
            out = Out("choose", START)
            self.logic.before_checkpoint(state, out)
            for emission in out.emissions:
                self.side.take("segments.rolled", ROLLED.decode(emission.value or b""))

    def inside(self, person: str) -> list[str]:
        """The person's segments."""
        people = tables_of(self.states[partition_of(person.encode(), len(self.states))]).people
        slot = people.find(person.encode())
        return [] if slot is None else self.program.names(int(people.views.i64[slot, 1]))


def shop(seed: int, partitions: int, members_min: int) -> tuple[Shop, int]:
    made, dice, at_ms = Shop(partitions, members_min), random.Random(seed), START
    for _ in range(250):
        at_ms += dice.randrange(3 * HOUR_MS)
        made.hear(PEOPLE[int(len(PEOPLE) * dice.random() ** 2)],
                  dice.choice(["product_view", "product_view", "purchase"]), at_ms,
                  dice.randrange(1, 400) / 4)
    made.tell()
    return made, at_ms


def evidence(spec: FeatureSpec, events: list[Heard], at_ms: int) -> int:
    if spec.kind == "ratio":
        spec = BY_NAME[spec.of[1]]
    own = [e for e in events if e.event_type == spec.event]
    if spec.kind == "mean":
        return int(obvious(FeatureSpec("n", spec.event, "count", spec.window_ms), own, at_ms,
                           BY_NAME) or 0)
    return len(own)


def level(made: Shop, spec: FeatureSpec, name: str, people: list[str], at_ms: int) -> Level:
    events = sorted((e for person in people for e in made.heard[person]), key=lambda e: e.offset)
    value = obvious(spec, events, at_ms, BY_NAME)
    if value is not None and spec.kind in PER_HEAD:
        value /= len(people)
    return Level("segment" if name else "global", value, evidence(spec, events, at_ms),
                 len(people), name)


def expected(made: Shop, spec: FeatureSpec, person: str, at_ms: int, groups: dict[str, list[str]],
             ) -> dict[str, Any]:
    own = Level("profile", obvious(spec, made.heard[person], at_ms, BY_NAME),
                evidence(spec, made.heard[person], at_ms))
    found: dict[str, Any] = {"events": own.events, "below": spec.back_off}
    levels = [own]
    if own.value is None or own.events < spec.back_off:
        for name, people in groups.items():
            levels.append(level(made, spec, name, people, at_ms))
            found[levels[-1].level] = {**({"name": name} if name else {}), "people": len(people),
                                       "value": levels[-1].value, "events": levels[-1].events}
    used, rest = 0.0, 1.0
    known = [each for each in levels if each.value is not None]
    for each in known:
        share = rest if each is known[-1] else rest * min(1.0, each.events / spec.back_off)
        used, rest = used + share * (each.value or 0.0), rest - share
    return {**found, "used": used if known else None}


def near(told: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return told.keys() == wanted.keys() and all(near(told[k], wanted[k]) for k in wanted)
    if isinstance(wanted, float) and told is not None:
        return bool(told == pytest.approx(wanted, abs=2e-5))
    return bool(told == wanted)


@pytest.mark.parametrize(("seed", "partitions", "members_min"),
                         [(1, 1, 5), (2, 3, 5), (3, 4, 1), (4, 2, 0)])
def test_a_decision_holds_what_the_twin_says_of_person_segment_and_everybody(
        seed: int, partitions: int, members_min: int) -> None:
    made, at_ms = shop(seed, partitions, members_min)
    known = sorted(made.heard)
    inside = {name: [p for p in known if name in made.inside(p)] for name in ("few", "many")}
    heard = {person: list(events) for person, events in made.heard.items()}
    thin = 0
    for person in [*known, "stranger"]:
        features = made.hear(person, "search", at_ms)
        assert features is not None
        large = [n for n in made.inside(person) if len(inside[n]) >= members_min]
        groups = {name: inside[name] for name in large[:1]} | {"": known}
        made.heard = {**heard, person: heard.get(person, [])}
        for spec in SPECS[:-1]:
            told = features[spec.name]["back_off"]
            wanted = expected(made, spec, person, at_ms, groups)
            most = told.pop("level")
            assert near(told, wanted), (person, spec.name, told, wanted)
            assert (most == "profile") or most in told or wanted["used"] is None
            thin += "global" in told
        assert "back_off" not in features["plain"]
    assert thin > 40


def test_small_groups_say_nothing() -> None:
    made, at_ms = shop(1, 2, 25)
    assert sum(len(made.inside(p)) > 0 for p in made.heard) >= 5 and len(made.heard) >= 25
    features = made.hear("stranger", "search", at_ms)
    assert features is not None and "global" in features["orders"]["back_off"]
    assert not any("segment" in each.get("back_off", {}) for each in features.values())
    small, at_ms = shop(1, 2, 10_000)
    features = small.hear("stranger", "search", at_ms)
    assert features is not None
    assert features["orders"]["back_off"] == {"events": 0, "below": 2, "level": "profile",
                                              "used": 0.0}
    assert features["basket"]["back_off"] == {"events": 0, "below": 5, "level": "", "used": None}


def test_a_row_that_is_read_leans_as_a_decision_does() -> None:
    made, at_ms = shop(5, 1, 2)
    (state,) = made.states
    features = made.hear("stranger", "search", at_ms)
    tables = tables_of(state)
    slot = tables.people.find(b"stranger")
    assert slot is not None and features is not None
    read = profiles.described(made.program, tables, slot, state.watermarks, tenants=["t"],
                              backing=Backing(made.program, made.side, members_min=2))
    assert read["as_of_ms"] == at_ms
    for name, each in features.items():
        assert read["features"][name].get("back_off") == each.get("back_off"), name


VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6))
LEVELS = st.tuples(VALUES, st.integers(0, 8), VALUES, st.integers(0, 8), VALUES, st.integers(0, 8))


@given(st.integers(1, 6), LEVELS)
def test_what_is_used_lies_between_what_is_known(below: int, given_: tuple[Any, ...]) -> None:
    levels = [Level(name, given_[2 * n], given_[2 * n + 1])
              for n, name in enumerate(("profile", "segment", "global"))]
    known = [each.value for each in levels if each.value is not None]
    used, most = lean(below, levels)
    if not known:
        assert (used, most) == (None, "")
        return
    assert used is not None and min(known) - 1e-6 <= used <= max(known) + 1e-6
    assert next(each for each in levels if each.level == most).value is not None
    first = levels[0]
    if first.value is not None and first.events >= below:
        assert (used, most) == (first.value, "profile"), "enough own events speak for themselves"
    if first.events == 0 and known[1:]:
        assert used == lean(below, levels[1:])[0], "nothing of one's own weighs nothing"


def test_each_own_event_takes_an_equal_part_of_the_weight() -> None:
    everybody = Level("global", 100.0, 900, 50)
    values = [lean(4, [Level("profile", 20.0, n), everybody]) for n in range(6)]
    assert values == [(100.0, "global"), (80.0, "global"), (60.0, "profile"), (40.0, "profile"),
                      (20.0, "profile"), (20.0, "profile")]


FILE = "version: 1\npurpose: personalise\nfeatures:\n"


@pytest.mark.parametrize(("line", "says"), [
    ("  a: {event: view, kind: since, back_off: {below: 3}}", "a since of a group"),
    ("  a: {event: view, kind: lifetime, back_off: {below: 0}}", "below is 0"),
    ("  a: {event: view, kind: lifetime, back_off: {}}", "below"),
    ("  a: {event: view, kind: lifetime, back_off: 3}", "back_off"),
])
def test_what_cannot_lean_is_refused_with_its_line(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "features.yml").write_text(FILE + line + "\n")
    fault = check(tmp_path)[0]
    assert says in str(fault) and fault.line == 4


def test_what_leans_is_declared_and_is_no_part_of_what_a_value_means(tmp_path: Path) -> None:
    meanings = []
    for more in ("", ", back_off: {below: 3}"):
        (tmp_path / "features.yml").write_text(
            f"{FILE}  a: {{event: view, kind: lifetime{more}}}\n")
        (tmp_path / "segments.yml").write_text(
            "version: 1\nsegments:\n  s: {feature: a, at_least: 1}\n")
        found = load(tmp_path)
        meanings.append(Program(found.features, found.segments).people.description)
    assert found.features[0].back_off == 3
    assert meanings[0] == meanings[1], "rows stay as they are, and nobody is asked anew"


def test_the_writer_is_told_what_is_a_guess() -> None:
    def part(used: float | None, level: str) -> dict[str, Any]:
        return {"value": 0.0, "age_ms": 1, "back_off": {"used": used, "level": level}}
    features = {"spend_30d": part(300.0, "segment"), "views_7d": part(5.2, "global"),
                "orders": part(3.0, "profile"), "odd": {"value": 1, "back_off": "no"}}
    assert signals_of(orjson.dumps(features).decode(), lambda text: False) == (
        ("odd", "once"), ("orders", "a few"),
        ("spend_30d", "high (a guess: usual in their segment)"),
        ("views_7d", "several (a guess: usual for customers)"))
