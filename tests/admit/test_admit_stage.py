"""Admit as a whole: one record, one outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from admit_world import ALL, NOW_MS, PSEUDONYMS, World, event, outcomes, person, read

from streams.admit.limits import AdmitLimits
from streams.kernel import ids
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


ROWS = [
    ("a plain event", event("1"), "admitted"),
    ("nobody's event", event("1", user_id=None), "refused:no_subject"),
    ("no word of consent", event("1", consent=None), "refused:no_consent"),
    ("every purpose denied", event("1", consent=dict.fromkeys(ALL, False)), "refused:no_consent"),
    ("one purpose suffices", event("1", consent={"measure": True}), "admitted"),
    ("just not too late", event("1", event_ms=NOW_MS - 30 * DAY_MS), "admitted"),
    ("a millisecond too late", event("1", event_ms=NOW_MS - 30 * DAY_MS - 1), "refused:too_late"),
    ("seconds for milliseconds", event("1", event_ms=NOW_MS // 1000), "quarantined:bad_value"),
    ("before there was anything", event("1", event_ms=0), "quarantined:bad_value"),
    ("an old time", event("1", event_ms=100_000_000_000), "refused:too_late"),
    ("the year 2100", event("1", event_ms=4_102_444_800_000), "admitted"),
    ("beyond the year 2100", event("1", event_ms=4_102_444_800_001), "quarantined:bad_value"),
    ("just not too early", event("1", event_ms=NOW_MS + 5 * MINUTE_MS), "admitted"),
    ("too early", event("1", event_ms=NOW_MS + 5 * MINUTE_MS + 1), "admitted"),
    ("broken bytes", b"\xff\xfe", "quarantined:not_json"),
    ("a wrong type", event("1", price="1"), "quarantined:wrong_type"),
    ("a clock", {"event_id": "c", "event_type": "clock", "event_ms": NOW_MS}, "control:clock"),
    ("an item that nobody named", {"event_id": "i", "event_type": "item_changed",
                                   "event_ms": NOW_MS}, "quarantined:missing_field"),
    ("an item back in stock, perhaps", {
        "event_id": "i", "event_type": "item_changed", "event_ms": NOW_MS, "item_id": "mug",
        "properties": {"was_in_stock": "no"}}, "quarantined:wrong_type"),
    ("a price before that is none", {
        "event_id": "i", "event_type": "item_changed", "event_ms": NOW_MS, "item_id": "mug",
        "properties": {"price_before": -1}}, "quarantined:bad_value"),
    ("a clock from the future", {"event_id": "c", "event_type": "clock",
                                 "event_ms": NOW_MS + DAY_MS}, "refused:from_the_future"),
    ("a withdrawal of everything", event("1", "consent", consent=dict.fromkeys(ALL, False)),
     "refused:no_consent"),
]


@pytest.mark.parametrize(("value", "word"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])
def test_one_record_has_one_outcome(world: World, value: Any, word: str) -> None:
    assert world.words(value) == [word]


@pytest.mark.parametrize(("event_ms", "outcome", "setting"), [
    (NOW_MS - 31 * DAY_MS, "refused", "KAIROS_LATE_DAYS"),
    (NOW_MS + HOUR_MS, "clamped", "KAIROS_FUTURE_MINUTES")])
def test_a_limit_of_time_is_told_with_the_setting_that_moves_it(
        world: World, event_ms: int, outcome: str, setting: str) -> None:
    [refusal] = world.of("refusals.recorded", event("1", event_ms=event_ms))
    assert (refusal["outcome"], refusal["field"]) == (outcome, "event_ms")
    assert setting in refusal["detail"] and refusal["event_ms"] == event_ms


def test_an_admitted_event_is_flat_and_pseudonymous(world: World) -> None:
    [admitted] = world.of("events.admitted", event(
        "1", "purchase", lines=[{"item_id": "a", "quantity": 2, "price": 1.25}], order_id="o",
        currency="EUR", query="my secret", properties={"shade": "red"}))
    assert admitted["profile_id"] == person("u1") and len(admitted["profile_id"]) == 32
    assert admitted["lines_json"] == '[["a",2.0,1250000]]'
    assert (admitted["quantity"], admitted["value_micros"]) == (2.0, 2_500_000)
    assert admitted["properties_json"] == '{"shade":"red"}'
    assert "u1" not in admitted.values() and "my secret" not in str(admitted)


def test_with_measure_alone_only_what_counting_needs_goes_on(world: World) -> None:
    [admitted] = world.of("events.admitted", event(
        "1", consent={"measure": True}, properties={"shade": "red"}, item_id="a"))
    assert admitted["properties_json"] == "" and admitted["item_id"] == "a"
    assert admitted["purposes"] == 1


def test_a_change_of_an_item_goes_on_to_the_people_of_its_partition(world: World) -> None:
    said = {"event_id": "i", "event_type": "item_changed", "event_ms": NOW_MS, "item_id": "mug",
            "price": 8.5, "currency": "EUR", "properties": {"price_before": 10, "in_stock": False}}
    emissions = world.send(said)
    [change] = [(e, fields) for e in emissions for name, fields in [read(e)]
                if name == "item_change"]
    assert change[0].partition == world.state.partition
    assert {name: change[1][name] for name in (
        "item_id", "as_of_ms", "price_before_micros", "price_micros", "currency", "was_in_stock",
        "in_stock")} == {
            "item_id": "mug", "as_of_ms": NOW_MS, "price_before_micros": 10_000_000,
            "price_micros": 8_500_000, "currency": "EUR", "was_in_stock": True, "in_stock": False}
    assert world.words(said) == ["control:item_changed"]


def test_consent_once_given_holds_until_withdrawn(world: World) -> None:
    said = [event("1"), event("2", consent=None),
            event("3", "consent", consent={"contact": False}, event_ms=NOW_MS + 1),
            event("4", consent=None),
            event("5", "consent", consent=dict.fromkeys(ALL, False), event_ms=NOW_MS + 2),
            event("6", consent=None)]
    admitted = world.of("events.admitted", *said)
    assert [a["purposes"] for a in admitted] == [15, 15, 11, 11]


def test_a_denial_wins_a_tie_and_an_older_word_changes_nothing(world: World) -> None:
    admitted = world.of(
        "events.admitted", event("1"), event("2", consent={"contact": False}),
        event("3", consent={"contact": True}),
        event("4", consent={"contact": True}, event_ms=NOW_MS - 1),
        event("5", consent={"contact": True}, event_ms=NOW_MS + 1))
    assert [a["purposes"] & 4 for a in admitted] == [4, 0, 0, 0, 4]


def test_consent_goes_out_once_per_change_to_the_persons_partition(world: World) -> None:
    emissions = world.send(event("1"), event("2", event_ms=NOW_MS + 1),
                           event("3", consent={"contact": False}, event_ms=NOW_MS + 2))
    changes = [e for e in emissions if e.topic == "consents.changed"]
    words = [read(e)[1] for e in changes]
    assert [(w["purpose"], w["granted"]) for w in words] == [
        ("measure", True), ("personalise", True), ("contact", True), ("train", True),
        ("contact", False)]
    assert {e.key for e in changes} == {
        f"{person('u1')}|{purpose}".encode() for purpose in ALL}
    assert {e.partition for e in changes} == {ids.partition_of(person("u1").encode(), 4)}


def test_a_word_from_elsewhere_counts_when_it_is_newer(world: World) -> None:
    book = world.side.consents
    change = {"profile_id": person("u1"), "purpose": "contact", "granted": False,
              "event_ms": NOW_MS + 5, "evidence": "decision"}
    first = world.of("events.admitted", event("1"))
    book.take(change)
    later = world.of("events.admitted", event("2", event_ms=NOW_MS + 4),
                     event("3", event_ms=NOW_MS + 6))
    assert [a["purposes"] & 4 for a in first + later] == [4, 0, 4]


def test_a_stranger_whom_the_book_knows_is_admitted(world: World) -> None:
    world.side.consents.take({"profile_id": person("u1"), "purpose": "measure", "granted": True,
                              "event_ms": NOW_MS, "evidence": ""})
    assert world.words(event("1", consent=None)) == ["admitted"]


def test_a_duplicate_is_told_by_its_id_within_the_window(tmp_path: Path) -> None:
    world = World(tmp_path, limits=AdmitLimits(dedup_ms=HOUR_MS))
    assert world.words(event("1"), event("2"), event("1")) == [
        "admitted", "admitted", "duplicate:duplicate"]
    assert world.words(event("1"), appended_ms=NOW_MS + HOUR_MS) == ["duplicate:duplicate"]
    assert world.words(event("1"), appended_ms=NOW_MS + HOUR_MS + 1) == ["admitted"]
    assert world.words(event("1", tenant="other")) == ["admitted"]


def test_a_refused_or_quarantined_event_can_be_mended_and_sent_again(world: World) -> None:
    assert world.words(event("1", price="3"), event("1", consent=None), event("1", price=3),
                       event("1", price=3)) == [
        "quarantined:wrong_type", "refused:no_consent", "admitted", "duplicate:duplicate"]


def test_ids_are_forgotten_behind_the_window_and_beyond_the_maximum(tmp_path: Path) -> None:
    world = World(tmp_path, limits=AdmitLimits(dedup_ms=HOUR_MS, ids_max=2000,
                                               profile_rate=0))
    world.send(*(event(f"a{n}") for n in range(1500)))
    rows = [key for key in world.state.slab if key.startswith(b"d:")]
    assert len(rows) == 2
    world.send(*(event(f"b{n}") for n in range(1000)))
    assert sorted(key for key in world.state.slab if key.startswith(b"d:"))[0] != rows[0]
    world.send(event("z"), appended_ms=NOW_MS + 3 * HOUR_MS)
    assert [key for key in world.state.slab if key.startswith(b"d:")] == [
        b"d:000000000002"]                 # the one that the newest id went to


def test_a_visitor_becomes_a_person_from_the_link_on(world: World) -> None:
    visit = {"user_id": None, "anonymous_id": "v"}
    admitted = world.of("events.admitted", event("1", **visit),
                        event("2", "alias", anonymous_id="v", consent=None),
                        event("3", **visit), event("4", "identify", user_id="u2",
                                                   anonymous_id="v"),
                        event("5", **visit))
    whose = [a["profile_id"] for a in admitted]
    assert whose[1:] == [person("u1"), person("u1"), person("u2"), person("u2")]
    assert whose[0] not in whose[1:]


def test_a_visitors_words_are_inherited_but_not_another_persons(world: World) -> None:
    visit = {"user_id": None, "anonymous_id": "v"}
    assert world.words(
        event("1", **visit), event("2", "alias", anonymous_id="v", consent=None),
        event("3", consent=None),
        event("4", "alias", user_id="u2", anonymous_id="v", consent=None)) == [
            "admitted", "admitted", "admitted", "refused:no_consent"]


def test_identifiers_go_to_the_vault_and_nowhere_else(world: World) -> None:
    secret = {"email": "ada@example.org", "first_name": "Ada", "phone": "0170", "shoe": "41",
              "locale": "de-DE", "country": "DE", "timezone": "Europe/Berlin"}
    emissions = world.send(event("1", "identify", traits=secret), event("2"))
    assert world.vault.get(person("u1"), "email") == "ada@example.org"
    assert world.vault.get(person("u1"), "shoe") is None
    for told in (b"ada@example.org", b"Ada", b"0170", b"41", b'"u1"'):
        assert not any(told in (e.value or b"") + e.key for e in emissions), told
        assert not any(told in (world.state.slab.encode(key) or b"") for key in world.state.slab)
    admitted = [read(e)[1] for e in emissions if e.topic == "events.admitted"]
    assert [a["country"] for a in admitted if "country" in a] == ["DE", "DE"]


@pytest.mark.parametrize(("consent", "kept"), [
    (ALL, "a@b.c"), ({"measure": True, "personalise": True}, None), ({"contact": True}, "a@b.c"),
    (dict.fromkeys(ALL, False), None)])
def test_an_address_is_kept_only_of_people_who_may_be_contacted(
        world: World, consent: dict[str, bool], kept: str | None) -> None:
    world.send(event("1", "identify", consent=consent, traits={"email": "a@b.c"}))
    assert world.vault.get(person("u1"), "email") == kept


def test_the_newest_identify_stands_whatever_the_order(world: World) -> None:
    world.send(event("1", "identify", traits={"email": "new@b.c", "country": "DE"}),
               event("2", "identify", traits={"email": "old@b.c", "country": "FR"},
                     event_ms=NOW_MS - 5))
    assert world.vault.get(person("u1"), "email") == "new@b.c"
    assert world.of("events.admitted", event("3"))[0]["country"] == "DE"


def test_a_receipt_goes_to_the_receipts_and_is_admitted_too(world: World) -> None:
    opened = event("1", "message_opened", decision_id="d1", channel="email")
    emissions = world.send(opened)
    assert outcomes(emissions) == {0: "admitted"}
    [receipt] = [read(e)[1] for e in emissions if e.topic == "receipts.received"]
    assert (receipt["kind"], receipt["decision_id"], receipt["profile_id"]) == (
        "opened", "d1", person("u1"))


def test_unsubscribing_and_complaining_withdraw_contact_even_without_consent(
        world: World) -> None:
    world.send(event("1"))
    for number, (kind, origin) in enumerate({"unsubscribed": "unsubscribe",
                                             "complained": "complaint"}.items(), start=2):
        late = NOW_MS + number
        emissions = world.send(
            event(f"g{number}", consent={"contact": True}, event_ms=late),
            event(str(number), f"message_{kind}", decision_id="d", channel="email",
                  consent=None, event_ms=late))
        change = [read(e)[1] for e in emissions if e.topic == "consents.changed"][-1]
        assert (change["purpose"], change["granted"], change["origin"]) == (
            "contact", False, origin)
    stranger = world.send(event("9", "message_unsubscribed", decision_id="d", channel="email",
                                user_id="u9", consent=None))
    assert list(outcomes(stranger).values()) == ["refused:no_consent"]
    assert [e.topic for e in stranger].count("receipts.received") == 1



NO_CONTACT = {"contact": False}


@pytest.mark.parametrize("person_said, visitor_said, allowed", [
    (NO_CONTACT, ALL, 11), (ALL, NO_CONTACT, 11), (ALL, ALL, 15), (NO_CONTACT, NO_CONTACT, 11),
    (None, NO_CONTACT, 11), (NO_CONTACT, None, 11)])
@pytest.mark.parametrize("later", ["person", "visitor"])
def test_of_two_that_turn_out_to_be_one_the_strictest_word_stands(
        world: World, person_said: Any, visitor_said: Any, allowed: int, later: str) -> None:
    ms = {"person": NOW_MS, "visitor": NOW_MS, later: NOW_MS + 10}
    visit = {"user_id": None, "anonymous_id": "v"}
    start = {name: True for name in ("measure", "personalise", "train")}
    admitted = world.of(
        "events.admitted",
        event("1", consent={**start, **(person_said or {})}, event_ms=ms["person"]),
        event("2", **visit, consent={**start, **(visitor_said or {})}, event_ms=ms["visitor"]),
        event("3", "identify", anonymous_id="v", consent=None, event_ms=NOW_MS + 20),
        event("4", consent=None, event_ms=NOW_MS + 30),
        event("5", consent=ALL, event_ms=NOW_MS + 40),
        event("6", "identify", anonymous_id="v", consent=None, event_ms=NOW_MS + 50),
        event("7", consent=None, event_ms=NOW_MS + 60))
    assert [a["purposes"] for a in admitted[2:]] == [allowed, allowed, 15, 15, 15]


def test_a_denial_in_the_book_is_stricter_than_a_visitors_word(world: World) -> None:
    world.side.take("consents.changed", {
        "tenant": "default", "recorded_ms": NOW_MS, "profile_id": person("u1"),
        "purpose": "contact", "granted": False, "event_ms": NOW_MS - 50,
        "evidence": "unsubscribe/1"})
    visit = {"user_id": None, "anonymous_id": "v"}
    admitted = world.of("events.admitted", event("1", **visit),
                        event("2", "alias", anonymous_id="v", consent=None),
                        event("3", **visit, event_ms=NOW_MS), event("4", event_ms=NOW_MS + 1))
    assert [a["purposes"] for a in admitted] == [15, 11, 11, 15]


def test_a_visitors_no_is_heard_once_though_nobody_may_be_linked(world: World) -> None:
    nothing = dict.fromkeys(ALL, False)
    visit = {"user_id": None, "anonymous_id": "v"}
    login = {"anonymous_id": "v", "consent": None}
    assert world.words(
        event("1", **visit, consent=nothing), event("2", "identify", **login),
        event("3", event_ms=NOW_MS + 1), event("4", "identify", **login),
        event("5", **visit, consent=nothing, event_ms=NOW_MS + 2), event("6", consent=None)) == [
            "refused:no_consent", "refused:no_consent", "admitted", "admitted",
            "refused:no_consent", "refused:no_consent"]


def test_a_strangers_tenants_are_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, limits=AdmitLimits(tenants_max=2))
    assert world.words(*(event("1", tenant=f"t{n}") for n in (1, 2, 3, 1))) == [
        "admitted", "admitted", "quarantined:bad_value", "duplicate:duplicate"]


def test_a_new_link_is_told_to_the_persons_partition_and_the_visitors_once(world: World) -> None:
    alias = {"event_type": "alias", "anonymous_id": "v", "user_id": "u2"}
    emissions = world.send(event("1", **visit_of("v")), event("2", **alias), event("3", **alias),
                           event("4", **{**alias, "user_id": "u3"}))
    told = [fields for kind, fields in map(read, emissions) if kind == "handover"]
    visitor = PSEUDONYMS.anonymous("default", "v")
    people = [PSEUDONYMS.known("default", user) for user in ("u2", "u3")]
    assert [(h["visitor_id"], h["profile_id"], h["stage"]) for h in told] == [
        (visitor, known, "admit") for known in people for _ in range(2)]
    assert [e.key.decode() for e in emissions if e.key and read(e)[0] == "handover"] == [
        key for known in people for key in (known, visitor)]      # whoever waits hears it first


def visit_of(visitor: str) -> dict[str, object]:
    return {"user_id": None, "anonymous_id": visitor}
