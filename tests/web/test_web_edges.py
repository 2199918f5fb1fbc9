"""The two edges for programs: events over HTTP, and providers' signed receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_parts import (
    DECISION,
    HOOK_KEY,
    KEY,
    MOMENT_MS,
    NOW_MS,
    PROFILE,
    Recorder,
    client_at,
    token,
)

from streams.adapters.web.bodies import Fault
from streams.adapters.web.events_edge import arrivals
from streams.deliver import signature

EVENT = {"event_id": "e1", "event_type": "page_view", "event_ms": 1, "user_id": "u1"}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_one_event_goes_on_byte_for_byte_under_its_persons_key(
        tmp_path: Path, recorder: Recorder) -> None:
    body = b'  {"event_id":"e1",  "user_id":"u\\u0031", "properties":{"big":1.50}}\n'
    answer = client_at(tmp_path, recorder).post("/v1/events", content=body)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    assert recorder.taken == [("events.raw", b"u1", body.strip(), None)]


def test_an_array_goes_on_one_by_one(tmp_path: Path, recorder: Recorder) -> None:
    events = [EVENT, {"anonymous_id": "a1"}, {"user_id": "", "anonymous_id": 7}]
    answer = client_at(tmp_path, recorder).post("/v1/events", json=events)
    assert answer.json() == {"accepted": 3}
    assert [key for _, key, _, _ in recorder.taken] == [b"u1", b"a1", None]
    assert [orjson.loads(value) for _, _, value, _ in recorder.taken] == events


@pytest.mark.parametrize("kind", ["clock", "item_changed", "erase"])
def test_what_each_partition_must_hear_is_told_to_every_partition_and_counted_once(
        kind: str, tmp_path: Path, recorder: Recorder) -> None:
    clock = {"event_type": kind, "tenant": "shop", "event_ms": 1, "event_id": "c"}
    answer = client_at(tmp_path, recorder, partitions=3).post("/v1/events", json=[clock, EVENT])
    assert answer.json() == {"accepted": 2}
    assert sorted(part for *_, part in recorder.taken if part is not None) == [0, 1, 2]


@pytest.mark.parametrize(("body", "status", "reason", "field"), [
    (b"", 400, "not_json", ""), (b"{", 400, "not_json", ""), (b"\xff", 400, "not_json", ""),
    (b"NaN", 400, "not_json", ""), (b'"text"', 400, "wrong_type", ""),
    (b'[{}, {"price":NaN}]', 400, "not_json", "[1].price"),
    (b'[{}, {"properties": {"n": 18446744073709551616}}]', 400, "bad_value", "[1].properties.n"),
    (b"[{}, 1]", 400, "wrong_type", "[1]"), (b"[[]]", 400, "wrong_type", "[0]"),
    (orjson.dumps([EVENT, {"x": "y" * 70_000}]), 413, "too_large", "[1]"),
    (orjson.dumps({"x": "y" * 70_000}), 413, "too_large", ""),
    (orjson.dumps([{}] * 1001), 413, "too_large", ""),
    (b" " * (4 * 1024 * 1024 + 1), 413, "too_large", "")])
def test_a_bad_request_is_refused_whole_with_a_reason(
        body: bytes, status: int, reason: str, field: str, tmp_path: Path,
        recorder: Recorder) -> None:
    answer = client_at(tmp_path, recorder).post("/v1/events", content=body)
    said = answer.json()["error"]
    assert (answer.status_code, said["reason"], said["field"]) == (status, reason, field)
    assert said["detail"] and recorder.taken == []


@given(st.binary(max_size=100))
def test_any_bytes_are_events_or_a_fault_and_never_an_error(body: bytes) -> None:
    found = arrivals(body, bytes_max=50, partitions=2)
    assert isinstance(found, Fault | list)


def test_without_kafka_nothing_is_promised(tmp_path: Path, recorder: Recorder) -> None:
    recorder.down = True
    answer = client_at(tmp_path, recorder).post("/v1/events", json=EVENT)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["reason"] == "broker_unreachable"


def post_receipts(home: Path, recorder: Recorder, said: Any, *, channel: str = "webhook",
                  key: bytes = HOOK_KEY, at_s: int = NOW_MS // 1000) -> Any:
    body = orjson.dumps(said)
    return client_at(home, recorder).post(f"/v1/receipts/{channel}", content=body, headers={
        signature.HEADER: signature.sign(key, body, unix_s=at_s)})


def test_a_provider_names_the_message_by_its_token(tmp_path: Path, recorder: Recorder) -> None:
    said = [{"token": token("receipt", channel="webhook"), "kind": "opened"},
            {"token": token("receipt", channel="webhook"), "kind": "clicked",
             "event_ms": NOW_MS - 77}]
    assert post_receipts(tmp_path, recorder, said).json() == {"accepted": 2}
    opened, clicked = (row for _, row in recorder.decoded())
    assert (opened["kind"], opened["event_ms"]) == ("opened", MOMENT_MS + 5_000)
    assert (clicked["kind"], clicked["event_ms"], clicked["channel"]) == (
        "clicked", NOW_MS - 77, "webhook")


@pytest.mark.parametrize(("said", "origin"), [
    ({"kind": "complained"}, "complaint"), ({"kind": "unsubscribed"}, "unsubscribe"),
    ({"kind": "bounced"}, "bounce"), ({"kind": "bounced", "permanent": False}, None),
    ({"kind": "delivered"}, None)])
def test_what_ends_the_right_to_write_withdraws_consent(
        said: dict[str, Any], origin: str | None, tmp_path: Path, recorder: Recorder) -> None:
    named = {"decision_id": DECISION, "tenant": "default", "profile_id": PROFILE,
             "event_ms": MOMENT_MS}
    assert post_receipts(tmp_path, recorder, {**named, **said}).status_code == 202
    consents = [row for topic, row in recorder.decoded() if topic == "consents.changed"]
    assert [row["origin"] for row in consents] == ([] if origin is None else [origin])
    assert all(not row["granted"] and row["event_ms"] == MOMENT_MS for row in consents)


@pytest.mark.parametrize(("said", "reason", "field"), [
    ({}, "bad_value", "kind"), ({"kind": "eaten"}, "bad_value", "kind"),
    ({"kind": ["opened"]}, "bad_value", "kind"),
    ({"kind": "opened", "token": "x"}, "bad_value", "token"),
    ({"kind": "opened", "token": 1}, "bad_value", "token"),
    ({"kind": "opened", "token": token("receipt")}, "bad_value", "token"),
    ({"kind": "opened"}, "missing_field", "decision_id"),
    ({"kind": "opened", "decision_id": 1}, "wrong_type", "decision_id"),
    ({"kind": "opened", "decision_id": "d", "tenant": "t", "profile_id": "p"}, "missing_field",
     "event_ms"),
    ({"kind": "opened", "event_ms": "now"}, "wrong_type", "event_ms"),
    ({"kind": "opened", "event_ms": -1}, "bad_value", "event_ms"),
    ({"kind": "complained", "event_ms": NOW_MS // 1000}, "bad_value", "event_ms"),
    ({"kind": "complained", "event_ms": NOW_MS + 10 * 60_000}, "bad_value", "event_ms"),
    ({"kind": "opened", "machine": "no"}, "wrong_type", "machine")])
def test_a_bad_receipt_names_its_field(said: dict[str, Any], reason: str, field: str,
                                       tmp_path: Path, recorder: Recorder) -> None:
    good = {"token": token("receipt", channel="webhook"), "kind": "opened"}
    answer = post_receipts(tmp_path, recorder, [good, said])
    fault = answer.json()["error"]
    assert (answer.status_code, fault["reason"], fault["field"]) == (400, reason, f"[1].{field}")
    assert recorder.taken == []


def test_an_unsigned_or_old_request_is_refused(tmp_path: Path, recorder: Recorder) -> None:
    said = {"token": token("receipt", channel="webhook"), "kind": "opened"}
    for answer in (post_receipts(tmp_path, recorder, said, key=KEY),
                   post_receipts(tmp_path, recorder, said, at_s=NOW_MS // 1000 - 301),
                   client_at(tmp_path, recorder).post("/v1/receipts/webhook", json=said)):
        assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "bad_signature")
    assert recorder.taken == []


def test_an_unknown_channel_is_not_found(tmp_path: Path, recorder: Recorder) -> None:
    assert post_receipts(tmp_path, recorder, {}, channel="pigeon").status_code == 404
