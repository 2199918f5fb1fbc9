"""The walk: one story per message, once, whatever the batches and crashes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from deliver_parts import (
    DAY_MS,
    KEY,
    MOMENT_MS,
    NOW_MS,
    PROFILE,
    Scripted,
    Shelf,
    batch,
    deliveries,
    logic,
    message,
    partition,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.deliver.ports import Parcel, Reply
from streams.deliver.row import KEEP_MS, SENDS_MAX, Row, Send
from streams.engine.records import Record, Seen
from streams.engine.stage import PartitionState
from streams.kernel.errors import UnreachableError
from streams.kernel.side_inputs import SideInputs

PLAYBOOK = """
playbook: abandoned_cart
trigger: {absence: {after: cart_add, without: purchase, within: 30m, per: cart_id}}
purpose: contact
brief: Remind them kindly.
variants: {plain: {strategy: reminder}}
conversion: {event: purchase, within: 3d}
expires: 1h
clock: event
"""


def topics(emitted: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [topic for topic, _ in emitted]


def withdrawn(**changes: Any) -> SideInputs:
    side = SideInputs()
    side.take("consents.changed", {"profile_id": PROFILE, "purpose": "contact", "granted": False,
                                   "event_ms": 1, "tenant": "t", "recorded_ms": 1, **changes})
    return side


def crashed(state: PartitionState) -> PartitionState:
    """What recovery finds: every row as the changelog has it, the marks of before the batch."""
    fresh = partition()
    for key in list(state.slab):
        fresh.slab.apply(key, state.slab.encode(key))
    fresh.seen = Seen()
    return fresh


@pytest.mark.parametrize("reply", [Reply("later", "451"), Reply("down", "refused")])
def test_who_withdraws_while_a_message_waits_does_not_get_it(reply: Reply) -> None:
    side = SideInputs()

    class Withdrawing(Scripted):
        """The withdrawal arrives while the channel is making up its mind."""

        async def send(self, parcel: Parcel) -> Reply:
            said = await super().send(parcel)
            side.consents.take({"profile_id": PROFILE, "purpose": "contact", "granted": False,
                                "event_ms": 1})
            return said

    channel = Withdrawing(reply)
    emitted = run(logic(channel, side=side), partition(), batch(message()))
    assert deliveries(emitted) == [("skipped", "consent_withdrawn")]
    assert (len(channel.parcels), channel.taken) == (1, [])


def test_a_withdrawal_stops_the_next_message_of_the_same_batch() -> None:
    side = SideInputs()

    class Withdrawing(Scripted):
        async def send(self, parcel: Parcel) -> Reply:
            side.consents.take({"profile_id": PROFILE, "purpose": "contact", "granted": False,
                                "event_ms": 1})
            return await super().send(parcel)

    emitted = run(logic(Withdrawing(), side=side), partition(), batch(
        message(), message(decision_id="e" * 32)))
    assert deliveries(emitted) == [("sent", ""), ("skipped", "consent_withdrawn")]


def test_a_message_that_is_sent_leaves_a_delivery_and_the_servers_receipt() -> None:
    channel = Scripted()
    emitted = run(logic(channel), partition(), batch(message()))
    assert topics(emitted) == ["deliveries.sent", "receipts.received"]
    row, receipt = emitted[0][1], emitted[1][1]
    assert (row["status"], row["reason"], row["attempts"]) == ("sent", "", 1)
    assert row["provider_id"] == f"<{'d' * 32}@shop.example>"
    assert row["sent_ms"] == MOMENT_MS and row["dispatched_ms"] == NOW_MS
    assert receipt["kind"] == "delivered" and receipt["event_ms"] == MOMENT_MS
    assert channel.parcels[0].address == "ada@shop.example"


@pytest.mark.parametrize(("changes", "parts", "reason"), [
    ({"purposes": 1}, {}, "consent_withdrawn"),
    ({}, {"side": withdrawn()}, "consent_withdrawn"),
    ({"useful_until_ms": MOMENT_MS - 1}, {}, "message_expired"),
    ({}, {"vault": Shelf(somebody={})}, "no_address"),
    ({}, {"vault": Shelf(**{PROFILE: {"email": "nonsense"}})}, "no_address"),
    ({"channel": "webhook"}, {}, "channel_off"),
    ({"body": "{item.title}"}, {}, "gates_failed")])
def test_every_silence_has_a_delivery_row_and_a_refusal(
        changes: dict[str, Any], parts: dict[str, Any], reason: str) -> None:
    channel = Scripted()
    emitted = run(logic(channel, **parts), partition(), batch(message(**changes)))
    assert topics(emitted) == ["deliveries.sent", "refusals.recorded"]
    assert deliveries(emitted) == [("skipped", reason)]
    refusal = emitted[1][1]
    assert (refusal["outcome"], refusal["reason"]) == ("skipped", reason)
    assert refusal["decision_id"] == "d" * 32 and refusal["playbook"] == "abandoned_cart"
    assert channel.parcels == []


def test_a_refusal_by_the_server_bounces_and_suppresses_that_address_only() -> None:
    bad = Reply("refused", "550 no such mailbox", bounced=True, address_bad=True)
    vault = Shelf()
    state, stage = partition(), logic(Scripted(bad), vault=vault)
    emitted = run(stage, state, batch(message()))
    assert topics(emitted) == ["deliveries.sent", "receipts.received", "refusals.recorded"]
    assert deliveries(emitted) == [("failed", "channel_refused")]
    assert emitted[1][1]["kind"] == "bounced"
    again = run(stage, state, batch(message(decision_id="2" * 32), first=1))
    assert deliveries(again) == [("skipped", "suppressed")]
    vault.people[PROFILE]["email"] = "ada@new.example"
    moved = run(stage, state, batch(message(decision_id="3" * 32), first=2))
    assert deliveries(moved) == [("sent", "")]
    key_free = repr(state.slab.tails[0])
    assert "@" not in key_free and KEY.decode() not in key_free


def test_the_cap_holds_inside_one_batch_and_rolls_on() -> None:
    state, channel = partition(), Scripted()
    stage = logic(channel)
    many = [message(decision_id=f"{at:032x}") for at in range(5)]
    assert deliveries(run(stage, state, batch(*many))) == (
        [("sent", "")] * 3 + [("skipped", "capped")] * 2)
    later = message(decision_id="f" * 32, moment_ms=MOMENT_MS + 7 * DAY_MS,
                    useful_until_ms=MOMENT_MS + 8 * DAY_MS)
    assert deliveries(run(stage, state, batch(later, first=5))) == [("sent", "")]


def test_a_failed_send_does_not_count_towards_the_cap() -> None:
    no = Reply("refused", "554 not this one", bounced=True)
    many = [message(decision_id=f"{at:032x}") for at in range(5)]
    found = deliveries(run(logic(Scripted(no, no)), partition(), batch(*many)))
    assert [status for status, _ in found] == ["failed", "failed", "sent", "sent", "sent"]


def test_shadow_mode_sends_nothing_and_says_so() -> None:
    side, channel = SideInputs(), Scripted()
    side.take("playbooks.published", {
        "tenant": "default", "name": "abandoned_cart", "version": 1, "active": True,
        "yaml": PLAYBOOK + "mode: shadow\n"})
    assert deliveries(run(logic(channel, side=side), partition(), batch(message()))) == [
        ("skipped", "shadow")]
    assert channel.parcels == []


@pytest.mark.parametrize(("clock", "found"), [
    ("event", ("sent", "")), ("wall", ("skipped", "message_expired"))])
def test_what_was_decided_late_is_sent_by_the_tenants_own_clock_only(
        clock: str, found: tuple[str, str]) -> None:
    side = SideInputs()
    side.take("playbooks.published", {
        "tenant": "default", "name": "abandoned_cart", "version": 1, "active": True,
        "yaml": PLAYBOOK.replace("clock: event", f"clock: {clock}")})
    assert deliveries(run(logic(Scripted(), side=side), partition(), batch(message()))) == [found]


def test_a_new_version_of_the_playbook_counts_from_the_next_message() -> None:
    side, channel, state = SideInputs(), Scripted(), partition()
    stage = logic(channel, side=side)
    for version, mode in ((1, "shadow"), (2, "live")):
        side.take("playbooks.published", {
            "tenant": "default", "name": "abandoned_cart", "version": version, "active": True,
            "yaml": f"{PLAYBOOK}mode: {mode}\n"})
        run(stage, state, batch(message(decision_id=f"{version:032x}"), first=version))
    assert [parcel.decision_id for parcel in channel.taken] == [f"{2:032x}"]


def test_a_playbook_that_nobody_can_read_lets_nothing_out() -> None:
    side = SideInputs()
    side.take("playbooks.published", {"tenant": "default", "name": "abandoned_cart", "version": 1,
                                      "active": True, "yaml": "unknown: 1"})
    assert deliveries(run(logic(Scripted(), side=side), partition(), batch(message()))) == [
        ("skipped", "shadow")]


def test_a_replay_says_the_same_again_and_sends_nothing() -> None:
    channel, state = Scripted(), partition()
    many = batch(message(), message(decision_id="2" * 32, purposes=0),
                 message(decision_id="3" * 32, profile_id="b" * 32))
    first = run(logic(channel), state, many)
    again = run(logic(channel, side=withdrawn()), crashed(state), many, now_ms=NOW_MS + 5000)
    without = [(topic, {name: value for name, value in row.items() if name not in (
        "recorded_ms", "detail")}) for topic, row in first]
    assert without == [(topic, {name: value for name, value in row.items() if name not in (
        "recorded_ms", "detail")}) for topic, row in again]
    assert len(channel.parcels) == 1


def test_a_crash_between_reservation_and_report_sends_again_under_the_same_name() -> None:
    state = partition()
    slot = state.slab.slot(PROFILE.encode())
    Row(state.slab.tails[slot]).put("d" * 32, Send("reserved", 0, sent_ms=MOMENT_MS))
    state.slab.stamp(slot, 0, 0)
    channel = Scripted()
    assert deliveries(run(logic(channel), crashed(state), batch(message()))) == [("sent", "")]
    assert channel.parcels[0].provider_id == f"<{'d' * 32}@shop.example>"


def test_an_upstream_repeat_is_passed_over_in_silence() -> None:
    state, channel = partition(), Scripted()
    stage, once = logic(channel), batch(message())
    run(stage, state, once)
    moved = Record("messages.ready", 0, 7, once[0].key, once[0].value, NOW_MS)
    assert run(stage, state, [moved]) == []
    assert len(channel.parcels) == 1


def test_a_second_message_of_one_decision_is_refused_and_keeps_the_first_delivery() -> None:
    state, channel = partition(), Scripted()
    emitted = run(logic(channel), state, batch(message(), message(subject="Again")))
    assert topics(emitted) == ["deliveries.sent", "receipts.received", "refusals.recorded"]
    assert emitted[2][1]["reason"] == "already_sent"
    assert len(channel.parcels) == 1


def test_bytes_that_nobody_can_read_are_kept_aside_and_cost_no_neighbour() -> None:
    bad = Record("messages.ready", 0, 0, b"k", b"\xc3\x01nonsense", NOW_MS)
    emitted = run(logic(Scripted()), partition(), [bad, *batch(message(), first=1)])
    assert topics(emitted) == ["events.quarantined", "deliveries.sent", "receipts.received"]
    assert emitted[0][1]["reason"] == "bad_avro"


def test_a_vault_that_does_not_answer_stops_the_batch_as_one_clear_error() -> None:
    class Gone(Shelf):
        def get(self, profile_id: str, name: str) -> str | None:
            raise UnreachableError("the vault does not answer")

    many = [message(profile_id=f"{at:032x}", decision_id=f"{at:032x}") for at in range(3)]
    with pytest.raises(UnreachableError, match="does not answer"):
        run(logic(Scripted(), vault=Gone()), partition(), batch(*many))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["ok", "late", "no"])), max_size=30),
       st.lists(st.integers(0, 30), max_size=4))
def test_the_result_does_not_depend_on_how_the_stream_was_cut(
        said: list[tuple[int, str]], cuts: list[int]) -> None:
    vault = Shelf(**{f"{who:032x}": {"email": f"p{who}@shop.example"} for who in range(5)})
    records = batch(*(message(
        decision_id=f"{at:032x}", profile_id=f"{who:032x}",
        purposes=0 if kind == "no" else 15,
        useful_until_ms=MOMENT_MS - (kind == "late")) for at, (who, kind) in enumerate(said)))
    whole = run(logic(Scripted(), vault=vault), partition(), records)
    state, stage, pieces = partition(), logic(Scripted(), vault=vault), []
    bounds = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    for start, end in pairwise(bounds):
        pieces += run(stage, state, records[start:end])
    assert pieces == whole


def test_the_row_forgets_what_no_cap_can_ask_for() -> None:
    row = Row({})
    for at in range(10):
        row.put(str(at), Send("sent", at, sent_ms=at * DAY_MS))
    row.forget(now_ms=KEEP_MS + 4 * DAY_MS, cap_per_ms=DAY_MS)
    assert [row.find(str(at)) is None for at in range(10)] == [True] * 5 + [False] * 5
    row.forget(now_ms=KEEP_MS + 6 * DAY_MS, cap_per_ms=60 * DAY_MS)
    row.forget(now_ms=KEEP_MS + 20 * DAY_MS, cap_per_ms=DAY_MS)
    assert row.find("5") is not None, "a longer cap of another playbook is still remembered"


def test_the_row_is_bounded() -> None:
    row = Row({})
    for at in range(SENDS_MAX + 20):
        row.put(str(at), Send("skipped", at, "capped", sent_ms=MOMENT_MS + at))
    row.forget(now_ms=MOMENT_MS, cap_per_ms=DAY_MS)
    assert row.find("19") is None and row.find("20") is not None


def test_a_replay_never_turns_a_rows_stamp_back() -> None:
    state, stage = partition(), logic(Scripted())
    many = batch(*(message(decision_id=f"{at:032x}") for at in range(3)))
    run(stage, state, many)
    again = crashed(state)
    run(stage, again, many[:1])
    assert again.slab.has_seen(again.slab.slot(PROFILE.encode()), 0, 2)
