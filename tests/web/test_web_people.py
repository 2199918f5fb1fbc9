"""Opening, clicking and ending: what each leaves behind, and what it never does."""

from __future__ import annotations

from pathlib import Path

import pytest
from web_parts import (
    BROWSER,
    DECISION,
    KEY,
    MOMENT_MS,
    NOW_MS,
    PROFILE,
    Recorder,
    client_at,
    token,
)

from streams.adapters.web.machines import is_machine
from streams.adapters.web.people import PIXEL
from streams.kernel import ids

TARGET = "https://shop.example/lamp?x=1&y=2"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_an_opened_mail_leaves_one_receipt_in_the_tenants_time(
        tmp_path: Path, recorder: Recorder) -> None:
    client = client_at(tmp_path, recorder)
    for _ in range(2):
        answer = client.get(f"/o/{token('open')}.gif")
        assert answer.content == PIXEL and answer.headers["content-type"] == "image/gif"
        assert "no-store" in answer.headers["cache-control"]
    (topic, first), (_, second) = recorder.decoded()
    assert topic == "receipts.received" and first == second
    assert first == {
        "receipt_id": ids.derive("receipt", DECISION, "opened"), "decision_id": DECISION,
        "tenant": "default", "profile_id": PROFILE, "channel": "email", "kind": "opened",
        "event_ms": MOMENT_MS + 5_000, "recorded_ms": NOW_MS, "machine": False}
    assert recorder.taken[0][1] == PROFILE.encode()


def test_a_click_goes_to_its_target(tmp_path: Path, recorder: Recorder) -> None:
    answer = client_at(tmp_path, recorder).get(f"/c/{token('click', TARGET)}")
    assert (answer.status_code, answer.headers["location"]) == (302, TARGET)
    assert recorder.decoded()[0][1]["kind"] == "clicked"


@pytest.mark.parametrize("path", [
    f"/c/{token('click', TARGET, key=b'x' * 32)}", f"/c/{token('open', TARGET)}", "/c/nonsense",
    f"/c/{token('click', 'javascript:alert(1)')}", f"/c/{token('click', '')}",
    f"/u/{token('click', TARGET)}", "/u/x.y"])
def test_what_we_did_not_sign_for_this_use_leads_nowhere(
        path: str, tmp_path: Path, recorder: Recorder) -> None:
    client = client_at(tmp_path, recorder)
    assert client.get(path).status_code == 404
    if path.startswith("/u/"):
        assert client.post(path).status_code == 404
    assert recorder.taken == []


def test_a_strange_picture_is_served_and_forgotten(tmp_path: Path, recorder: Recorder) -> None:
    answer = client_at(tmp_path, recorder).get("/o/nonsense.gif")
    assert answer.status_code == 200 and recorder.taken == []


def test_a_machine_leaves_a_receipt_of_its_own_that_hides_no_person(
        tmp_path: Path, recorder: Recorder) -> None:
    client, url = client_at(tmp_path, recorder), f"/c/{token('click', TARGET)}"
    assert client.head(url).status_code == 302
    client.get(url)
    machine, person = (row for _, row in recorder.decoded())
    assert (machine["machine"], person["machine"]) == (True, False)
    assert machine["receipt_id"] != person["receipt_id"]


@pytest.mark.parametrize(("method", "headers", "machine"), [
    ("GET", {"user-agent": BROWSER}, False), ("HEAD", {"user-agent": BROWSER}, True),
    ("GET", {}, True), ("GET", {"user-agent": "Mozilla/5.0"}, True),
    ("GET", {"user-agent": BROWSER, "sec-purpose": "prefetch;prerender"}, True),
    ("GET", {"user-agent": BROWSER, "purpose": "prefetch"}, True),
    ("GET", {"user-agent": "Mozilla/5.0 (compatible; bingbot/2.0)"}, True),
    ("GET", {"user-agent": "Mozilla/5.0 BingPreview/1.0b"}, True),
    ("GET", {"user-agent": "Barracuda Sentinel (EE)"}, True),
    ("GET", {"user-agent": "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"}, False),
    ("GET", {"user-agent": "python-httpx/0.28"}, False)])
def test_who_is_held_to_be_a_machine(method: str, headers: dict[str, str], machine: bool) -> None:
    assert is_machine(method, headers) is machine


def test_the_unsubscribe_page_asks_and_changes_nothing(tmp_path: Path, recorder: Recorder) -> None:
    client, url = client_at(tmp_path, recorder), f"/u/{token('unsubscribe')}"
    answer = client.get(url)
    assert answer.status_code == 200 and '<form method="post">' in answer.text
    assert client.head(url).status_code == 200
    assert recorder.taken == []


@pytest.mark.parametrize(("body", "words"), [
    ({"List-Unsubscribe": "One-Click"}, "You are unsubscribed.\n"), ({}, "<h1>You are unsub")])
def test_one_click_and_the_button_end_it(body: dict[str, str], words: str, tmp_path: Path,
                                         recorder: Recorder) -> None:
    answer = client_at(tmp_path, recorder).post(f"/u/{token('unsubscribe')}", data=body)
    assert answer.status_code == 200 and words in answer.text
    (where, consent), (_, receipt) = recorder.decoded()
    assert where == "consents.changed"
    assert consent == {
        "tenant": "default", "profile_id": PROFILE, "purpose": "contact", "granted": False,
        "event_ms": MOMENT_MS + 5_000, "origin": "unsubscribe", "basis": "consent",
        "evidence": DECISION, "recorded_ms": NOW_MS}
    assert receipt["kind"] == "unsubscribed"
    (_, key, _, partition), (_, _, _, other) = recorder.taken
    assert key == f"{PROFILE}|contact".encode()
    assert partition == other == ids.partition_of(PROFILE.encode(), 4)


def test_a_form_that_never_ends_is_not_read_on(tmp_path: Path, recorder: Recorder) -> None:
    answer = client_at(tmp_path, recorder).post(f"/u/{token('unsubscribe')}",
                                                content=b"x" * (1 << 20))
    assert answer.status_code == 413 and recorder.taken == []


def test_an_unsubscribe_that_could_not_be_stored_is_not_confirmed(
        tmp_path: Path, recorder: Recorder) -> None:
    recorder.down = True
    answer = client_at(tmp_path, recorder).post(f"/u/{token('unsubscribe')}")
    assert answer.status_code == 503 and "not done" in answer.text
    assert answer.headers["retry-after"] == "30"


def test_a_click_is_redirected_even_when_kafka_is_down(tmp_path: Path, recorder: Recorder) -> None:
    recorder.down = True
    client = client_at(tmp_path, recorder)
    assert client.get(f"/c/{token('click', TARGET)}").status_code == 302
    assert client.get(f"/o/{token('open')}.gif").content == PIXEL


def test_the_key_is_in_no_page_and_no_representation(tmp_path: Path, recorder: Recorder) -> None:
    from web_parts import parts_at
    assert KEY.decode() not in repr(parts_at(tmp_path, recorder))
