"""The tables are what the contracts say, and the views are right about repeats, on the engine."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas import contract
from sinks import ddl
from sinks.audit import audit
from sinks.client import connect
from sinks.decoding import decode
from sinks.intents import Arrival, Where
from sinks.ports import LedgerEntry, RowsRefused, Unavailable
from sinks.topics import BY_TOPIC, LANDINGS, Landing
from sinks.warehouse import ClickHouseWarehouse
from streams.settings import Settings

pytestmark = pytest.mark.integration

_ZERO: dict[str, Any] = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False,
                         "bytes": b""}
_OFFSETS = itertools.count(1)
NOW_MS = int(time.time() * 1000)      # rows must be younger than their retention


@pytest.fixture(scope="module")
def warehouse(clickhouse: Settings) -> ClickHouseWarehouse:
    house = ClickHouseWarehouse(lambda: connect(clickhouse, user="writer"))
    house.prepare()
    assert house.prepare() == [], "migrations are applied once"
    return house


@pytest.fixture(scope="module")
def reader(warehouse: ClickHouseWarehouse, clickhouse: Settings) -> Client:
    return connect(clickhouse, user="reader")


@pytest.fixture
def land(warehouse: ClickHouseWarehouse) -> Callable[..., int]:
    """Lands one record given by its interesting fields, as its own block; gives its offset."""
    def one(topic: str, /, **fields: Any) -> int:
        offset = next(_OFFSETS)
        blank = {name: _ZERO[f["type"][1] if isinstance(f["type"], list) else f["type"]]
                 for name, f in contract(topic).fields.items()}
        value = contract(topic).encode({**blank, **fields})
        rows = decode(BY_TOPIC[topic], "tid", [
            Arrival(topic, 0, offset, b"k", value, NOW_MS)]).rows
        warehouse.insert(Where(topic, 0), rows, f"{topic}-{offset}")
        return offset
    return one


def ask(client: Client, query: str, **parameters: Any) -> list[Any]:
    return [row if len(row) > 1 else row[0]
            for row in client.query(query, parameters=parameters).result_rows]


@pytest.mark.parametrize("landing", LANDINGS, ids=lambda landing: landing.topic)
def test_a_landing_table_keeps_its_contract_field_by_field(landing: Landing,
                                                          reader: Client) -> None:
    columns = "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() " \
              "AND table = {table:String} ORDER BY position"
    told = [(c.name, c.type, c.comment)
            for c in [*ddl.stored_columns(landing), *ddl.time_columns(landing)]]
    assert ask(reader, columns, table=landing.table) == told
    assert ask(reader, columns, table=landing.view) == [
        (c.name, c.type, c.comment) for c in ddl.view_columns(landing)]
    for name, field in landing.contract.fields.items():
        assert name in landing.withheld or any(
            column == name and field["doc"] in comment for column, _, comment in told), name
    engine = ask(reader, "SELECT create_table_query FROM system.tables WHERE name = {name:String} "
                 "AND database = currentDatabase()", name=landing.table)[0]
    assert f"toIntervalDay({ddl.retention_days(landing)})" in engine
    assert "non_replicated_deduplication_window = 10000" in engine


def test_everything_an_analyst_sees_has_a_comment(reader: Client) -> None:
    bare = ask(reader, "SELECT table, name FROM system.columns "
               "WHERE database = currentDatabase() AND comment = ''")
    assert not bare
    assert not ask(reader, "SELECT name FROM system.tables "
                   "WHERE database = currentDatabase() AND comment = ''")


@pytest.mark.parametrize("column", ("trigger", "cause", "outcome", "origin"))
def test_a_column_that_lists_its_values_lists_the_same_everywhere(column: str,
                                                                  reader: Client) -> None:
    told = ask(reader, "SELECT DISTINCT comment FROM system.columns "
               "WHERE database = currentDatabase() AND name = {name:String} "
               "AND match(comment, ', .* or ')", name=column)
    assert len(told) == 1, told


def test_identifiers_and_payloads_have_no_column(reader: Client) -> None:
    assert not ask(reader, "SELECT table, name FROM system.columns "
                   "WHERE database = currentDatabase() AND name IN "
                   "('payload', 'user_id', 'anonymous_id', 'traits', 'email', 'phone')")


def test_of_a_repeated_emission_the_lowest_offset_wins_merged_or_not(
        land: Callable[..., int], reader: Client, clickhouse: Settings) -> None:
    for decided_ms in (1_000, 2_000, 3_000):
        land("decisions.made", decision_id="again", tenant="repeats", decided_ms=decided_ms)
    land("decisions.made", decision_id="other", tenant="repeats", decided_ms=9_000)
    def seen() -> list[Any]:
        return ask(reader, "SELECT decision_id, decided_ms FROM decisions "
                   "WHERE tenant = 'repeats' ORDER BY decision_id")
    assert seen() == [("again", 1_000), ("other", 9_000)]
    assert ask(reader, "SELECT count() FROM raw_decisions_made WHERE tenant = 'repeats'") == [4]
    # A condition on what differs between repeats must not let another repeat in.
    assert ask(reader, "SELECT count() FROM decisions WHERE tenant = 'repeats' "
               "AND decision_id = 'again' AND decided_ms > 1500") == [0]
    connect(clickhouse, user="writer").command("OPTIMIZE TABLE raw_decisions_made FINAL")
    assert seen() == [("again", 1_000), ("other", 9_000)]


def test_an_event_id_admitted_twice_after_the_window_is_two_events(
        land: Callable[..., int], reader: Client) -> None:
    for origin_offset in (5, 5, 90):
        land("events.admitted", event_id="e", tenant="window", profile_id="p", event_ms=1,
             origin_offset=origin_offset)
    assert ask(reader, "SELECT count() FROM events WHERE tenant = 'window'") == [2]


def test_views_of_compacted_topics_show_the_newest(land: Callable[..., int],
                                                   reader: Client) -> None:
    for event_ms, granted in ((10, True), (30, True), (30, False), (20, True)):
        land("consents.changed", tenant="c", profile_id="p", purpose="contact",
             event_ms=event_ms, granted=granted)
    assert ask(reader, "SELECT event_ms, granted FROM consents WHERE tenant = 'c'") \
        == [(30, False)], "a denial wins a tie"
    for partition, members, revenue in ((0, 12, 5.0), (1, 13, 7.0), (0, 14, 6.0)):
        land("segments.rolled", tenant="c", segment="vip", partition=partition, members=members,
             sums_json=json.dumps({"revenue": revenue}), entity="segment")
    assert ask(reader, "SELECT members, sums FROM segment_sizes WHERE tenant = 'c'") \
        == [(27, {"revenue": 13.0})]
    for version, active in ((1, True), (3, False), (2, True)):
        land("playbooks.published", tenant="c", name="cart", version=version, active=active)
    assert ask(reader, "SELECT version, active FROM playbooks WHERE tenant = 'c'") == [(3, False)]
    for partition, trials in ((0, 5), (1, 6), (0, 8)):
        land("policies.updated", tenant="c", playbook="cart", segment="*", partition=partition,
             recorded_ms=trials, arms_json=json.dumps(
                 {"warm": {"trials": trials, "successes": 1, "value_micros": 10}}))
    assert ask(reader, "SELECT arm, trials, successes, value_micros FROM policies "
               "WHERE tenant = 'c'") == [("warm", 14, 2, 20)]


def test_small_segments_are_in_no_view_of_sizes(land: Callable[..., int], reader: Client,
                                                clickhouse: Settings) -> None:
    for segment, members in (("", 31), ("vip", 20), ("few", 19)):
        land("segments.rolled", tenant="k", segment=segment, partition=0, members=members,
             sums_json="{}", entity="segment")
    land("segments.rolled", tenant="k", segment="vip", partition=0, members=500, sums_json="{}",
         entity="item")
    land("segments.rolled", tenant="k", segment="rare", partition=0, members=3, sums_json="{}",
         entity="item")
    assert ask(reader, "SELECT entity, name, people FROM things WHERE tenant = 'k'") == [
        ("item", "vip", 500)]
    sizes = "SELECT segment, members FROM segment_sizes WHERE tenant = 'k' ORDER BY segment"
    assert ask(reader, sizes) == [("", 31), ("vip", 20)], "20 unless the sink is told otherwise"
    for members_min, shown in ((30, [("", 31)]), (20, [("", 31), ("vip", 20)])):
        ClickHouseWarehouse(lambda: connect(clickhouse, user="writer"),
                            members_min=members_min).prepare()
        assert ask(reader, sizes) == shown


def _journey(land: Callable[..., int], number: int, *, person: str, moment_ms: int,
             arm: str = "warm", holdout: bool = False, channel: str = "email") -> None:
    """A decision, its message ten milliseconds later, and the delivery."""
    named = {"decision_id": f"d{number}", "tenant": "a", "profile_id": person, "playbook": "cart",
             "arm": arm}
    land("decisions.made", **named, holdout=holdout, moment_ms=moment_ms, window_ms=1_000,
         conversion="purchase", channel=channel)
    if not holdout:
        land("messages.ready", **named, channel=channel, rung="template",
             trigger_appended_ms=500, ready_ms=500 + number)
        land("deliveries.sent", **named, channel=channel, delivery_id=f"s{number}", status="sent",
             sent_ms=moment_ms + 1, dispatched_ms=1)


def test_credit_arms_story_cost_and_latency(land: Callable[..., int], reader: Client) -> None:
    _journey(land, 1, person="p", moment_ms=1_000)
    _journey(land, 2, person="p", moment_ms=1_500, channel="webhook")
    _journey(land, 3, person="p", moment_ms=5_000)                    # after the purchase
    _journey(land, 4, person="q", moment_ms=1_000, holdout=True)
    _journey(land, 5, person="r", moment_ms=100)                      # its window is over by then
    for number, person in ((1, "p"), (2, "p"), (4, "q")):
        for _ in range(2):                                            # replayed
            land("rewards.observed", reward_id=f"r{number}", decision_id=f"d{number}", tenant="a",
                 profile_id=person, playbook="cart", arm="warm", kind="converted",
                 event_id=f"buy-{person}", order_id=f"o-{person}", value_micros=600,
                 event_ms=1_800)
    land("receipts.received", receipt_id="x", decision_id="d1", tenant="a", kind="clicked")
    for result in ("ok", "timeout"):
        land("costs.incurred", cost_id=result, decision_id="d1", tenant="a", playbook="cart",
             cost_usd_micros=300)
    touch = "playbook, arm, channel, decision_id, credit, value_micros"
    assert ask(reader, f"SELECT {touch} FROM attribution_last_touch WHERE tenant = 'a'") == [
        ("cart", "warm", "webhook", "d2", 1.0, 600.0)]
    assert ask(reader, f"SELECT {touch} FROM attribution_linear WHERE tenant = 'a' "
               "ORDER BY decision_id") == [("cart", "warm", "email", "d1", 0.5, 300.0),
                                           ("cart", "warm", "webhook", "d2", 0.5, 300.0)]
    assert ask(reader, "SELECT arm, holdout, units, conversions, value_micros FROM arms "
               "WHERE tenant = 'a' ORDER BY holdout") == [
        ("warm", False, 2, 1, 600), ("warm", True, 1, 1, 600)]
    assert ask(reader, "SELECT decision_id, delivery_status, clicked, conversions, calls, "
               "cost_usd_micros, latency_ms FROM decision_story WHERE tenant = 'a' "
               "AND decision_id IN ('d1', 'd4') ORDER BY decision_id") == [
        ("d1", "sent", 1, 1, 2, 600, 1), ("d4", "", 0, 1, 0, 0, 0)]
    assert ask(reader, "SELECT messages, calls, cost_usd_micros, usd_per_thousand_messages "
               "FROM cost_per_thousand WHERE tenant = 'a'") == [(4, 2, 600, 0.15)]
    assert ask(reader, "SELECT messages, max_ms FROM latency WHERE tenant = 'a'") == [(4, 5)]


def test_the_accounting_identity_counts_each_record_of_events_raw_once(
        land: Callable[..., int], reader: Client, warehouse: ClickHouseWarehouse) -> None:
    before = ask(reader, "SELECT admitted + refused + quarantined + duplicate + control "
                 "FROM accounting_total")[0]
    raw = {"stage": "admit", "topic": "events.raw", "partition": 3}
    for _ in range(2):                                                # replayed
        land("events.admitted", tenant="n", event_id="1", origin_partition=3, origin_offset=0)
        land("refusals.recorded", refusal_id="1", tenant="n", outcome="refused", offset=1, **raw)
        land("refusals.recorded", refusal_id="2", tenant="n", outcome="duplicate", offset=2, **raw)
        land("refusals.recorded", refusal_id="3", tenant="n", outcome="control", offset=3, **raw)
        land("events.quarantined", quarantine_id="4", offset=4, payload=b"x", **raw)
    land("refusals.recorded", refusal_id="5", tenant="n", outcome="skipped", stage="choose",
         topic="events.admitted", offset=3)
    assert ask(reader, "SELECT admitted, refused, duplicate, control FROM accounting "
               "WHERE tenant = 'n'") == [(1, 1, 1, 1)]
    for end in (before + 3, before + 5):
        warehouse.note_ends([("events.raw", 0, 0, end)], end)
    assert ask(reader, "SELECT produced, unaccounted FROM accounting_total") == [(before + 5, 0)]


def test_a_block_with_a_known_token_is_dropped_and_refusals_are_told_from_outages(
        warehouse: ClickHouseWarehouse, clickhouse: Settings, reader: Client) -> None:
    where = Where("catalogue.items", 1)
    blank = {n: _ZERO[f["type"]] for n, f in contract("catalogue.items").fields.items()}
    value = contract("catalogue.items").encode({**blank, "tenant": "token"})
    records = [Arrival(*where, offset, b"", value, NOW_MS) for offset in range(4)]
    rows = warehouse.decode(where, "tid", records).rows
    for _ in range(3):
        warehouse.insert(where, rows, "one token")
    assert ask(reader, "SELECT count() FROM raw_catalogue_items WHERE tenant = 'token'") == [4]
    assert warehouse.present(where, "tid", 1, 2) == {1, 2}
    assert warehouse.present(where, "another topic", 1, 2) == set()
    writer = connect(clickhouse, user="writer")
    writer.command("ALTER TABLE raw_catalogue_items ADD CONSTRAINT positive CHECK price_micros > 0")
    try:
        with pytest.raises(RowsRefused):
            warehouse.insert(where, rows.with_columns(_offset=rows["_offset"] + 100),
                             "another token")
    finally:
        writer.command("ALTER TABLE raw_catalogue_items DROP CONSTRAINT positive")
    writer.command("ALTER TABLE raw_catalogue_items MODIFY SETTING parts_to_throw_insert = 1")
    try:
        with pytest.raises(Unavailable, match="Too many parts"):
            for number in range(3):
                warehouse.insert(where, rows.with_columns(_offset=rows["_offset"] + 10 + number),
                                 f"crowd {number}")
    finally:
        writer.command("ALTER TABLE raw_catalogue_items RESET SETTING parts_to_throw_insert")
    with pytest.raises(Unavailable):
        warehouse.insert(where, rows.rename({"title": "headline"}), "a third token")


def test_the_audit_finds_gaps_overlaps_and_missing_rows(warehouse: ClickHouseWarehouse,
                                                        reader: Client) -> None:
    where = Where("segments.changed", 0)
    def enter(first: int, last: int) -> None:
        warehouse.enter([LedgerEntry(where, "t", first, last, 0, 0, last - first + 1, "x")])
    def verdict() -> str:
        return next(a.verdict for a in audit(reader) if a.topic == "segments.changed")
    enter(0, 9)
    enter(10, 19)
    enter(10, 19)                                       # a crash repeats an entry
    assert verdict() == "holds"
    enter(25, 30)
    assert verdict() == "1 gaps in the ledger"
    enter(20, 27)
    assert verdict() == "1 overlaps in the ledger"
    warehouse.enter([LedgerEntry(where, "t", 31, 31, 5, 0, 0, "x")])
    assert "5 rows missing" in verdict()
