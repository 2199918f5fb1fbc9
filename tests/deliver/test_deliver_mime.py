"""Binding and MIME: what anyone's mail program reads is what we meant, whatever we were given."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as modern
from typing import Any

import pytest
from deliver_parts import KEY, NOW_MS, message
from hypothesis import example, given
from hypothesis import strategies as st

from streams.deliver import links, mime
from streams.deliver.binding import Bound, bind, fit_address, fit_name, nameless
from streams.deliver.links import Signer
from streams.kernel.outcomes import Refused

SENDER = "Kairos Läden <hello@shop.example>"
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe",
           "List-Unsubscribe-Post", "X-Kairos-Decision", "X-Kairos-Variant", "MIME-Version",
           "Content-Type"]
ANYTHING = st.text(st.characters(exclude_categories=("Cs",)), max_size=120)


def bound(name: str | None = "Ada", address: str | None = "ada@shop.example",
          **changes: Any) -> Bound | Refused:
    said = message(**changes)
    return bind(said, Signer("http://127.0.0.1:9", KEY, said), first_name=name, address=address)


def read_back(name: str | None = "Ada", locale: str = "en", **changes: Any) -> EmailMessage:
    said = bound(name, **changes)
    assert isinstance(said, Bound), said
    raw = mime.write(said, decision_id="d" * 32, variant="plain", sender=SENDER, locale=locale,
                     date_ms=NOW_MS)
    raw.decode("ascii")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    found = message_from_bytes(raw, policy=modern)
    assert isinstance(found, EmailMessage) and not found.defects
    return found


def part(found: EmailMessage, kind: str) -> str:
    body = found.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_mail_has_the_headers_it_needs_and_no_others() -> None:
    found = read_back()
    assert found.keys() == HEADERS
    assert found["From"] == SENDER and found["To"] == "ada@shop.example"
    assert found["Subject"] == "Your cart, Ada"
    assert found["Message-ID"] == f"<{'d' * 32}@shop.example>"
    assert found["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert found["Date"].datetime.timestamp() * 1000 == NOW_MS


def test_the_unsubscribe_header_is_one_plain_url_that_works() -> None:
    raw = found = read_back()["List-Unsubscribe"]
    assert raw.startswith("<http://127.0.0.1:9/u/") and raw.endswith(">")
    link = links.read(KEY, found[1:-1].rpartition("/")[2])
    assert link is not None and link.kind == "unsubscribe" and link.target == ""


def test_every_link_leads_through_our_click_address_and_back_to_its_target() -> None:
    found = read_back(body="See https://shop.example/a?x=1&y=2, or (http://b.example/c). Bye")
    text = part(found, "plain")
    assert "shop.example" not in text.replace("hello@shop.example", "")
    tokens = [word.rstrip(",).").rpartition("/")[2] for word in text.replace("(", " ").split()
              if "/c/" in word]
    targets = [link.target for token in tokens if (link := links.read(KEY, token))]
    assert targets == ["https://shop.example/a?x=1&y=2", "http://b.example/c"]


def test_a_forgotten_call_to_action_and_way_out_are_added() -> None:
    found = read_back(body="Just words.")
    for kind in ("plain", "html"):
        assert "/c/" in part(found, kind) and "/u/" in part(found, kind)
    assert "/o/" in part(found, "html") and "/o/" not in part(found, "plain")


def test_a_body_with_its_own_way_out_gets_no_second_one() -> None:
    assert part(read_back(), "plain").count("/u/") == 1


def test_the_words_around_links_speak_the_messages_language() -> None:
    assert "Abmelden: " in part(read_back(locale="de-AT"), "plain")
    assert "Unsubscribe: " in part(read_back(locale="xx"), "plain")


def test_markup_in_a_message_is_text() -> None:
    html = part(read_back(body="<script>alert('x')</script> & \"more\""), "html")
    assert "<script>" not in html and "&lt;script&gt;" in html


@given(ANYTHING)
@example("Ada\r\nBcc: all@shop.example")
@example("{unsubscribe_url}")
@example("http://evil.example")
@example("\u2028Bcc: x@y.example")
def test_no_name_adds_a_header_a_link_or_a_slot(name: str) -> None:
    found = read_back(name)
    assert found.keys() == HEADERS
    called = fit_name(name)
    assert found["Subject"] == (f"Your cart, {called}".strip() if called else "Your cart")
    assert part(found, "html").count("<a ") == 2


@given(ANYTHING)
@example("Zwölf Boxkämpfer jagen Eva quer über den großen Sylter Deich " * 2)
@example("a" * 250)
@example("=?utf-8?q?x?=")
@example("late\r\n\r\nbody")
def test_no_subject_adds_a_header(subject: str) -> None:
    said = bound(subject=subject)
    if isinstance(said, Refused):
        assert "{" in subject or "}" in subject
        return
    assert read_back(subject=subject).keys() == HEADERS


@pytest.mark.parametrize("subject", ["Ein großes Angebot für Ömer " * 5, "Plain " * 20, "日本" * 60,
                                     "short"])
def test_a_subject_is_read_back_as_it_was_written(subject: str) -> None:
    assert read_back(subject=subject)["Subject"] == subject.strip()[:250]


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="{}"),
               min_size=1, max_size=400).filter(lambda text: text.strip() and "://" not in text))
def test_a_text_is_read_back_to_the_letter(body: str) -> None:
    text = part(read_back(body=body), "plain")
    assert text.startswith(body) or "\u2028" in body or "\u2029" in body or "\x85" in body


@pytest.mark.parametrize(("changes", "reason"), [
    ({"body": "Buy {item.title} now"}, "gates_failed"),
    ({"subject": "{item.price}"}, "gates_failed"),
    ({"body": "a } b"}, "gates_failed"),
    ({"body": "  \n "}, "gates_failed"),
    ({"body": "bell \x07"}, "gates_failed")])
def test_what_is_left_over_never_goes_out(changes: dict[str, Any], reason: str) -> None:
    said = bound(**changes)
    assert isinstance(said, Refused) and said.reason == reason


@pytest.mark.parametrize(("address", "fit"), [
    ("ada@shop.example", "ada@shop.example"), (" ada@shop.example ", "ada@shop.example"),
    ("a.b+c@d-e.example.org", "a.b+c@d-e.example.org"), ("ada@müller.example",
                                                         "ada@xn--mller-kva.example"),
    ("", None), (None, None), ("ada", None), ("@shop.example", None), ("ada@", None),
    ("a da@shop.example", None), ("ada@shop.example\r\nBcc: x@y.example", None),
    ("ada@shop.example,eve@shop.example", None), ("<ada@shop.example>", None),
    ("a..b@shop.example", None), ("ada@localhost", None), ("ada@-x.example", None),
    ("x" * 65 + "@shop.example", None), ("a@" + "x" * 64 + ".example", None),
    ("ädä@shop.example", None)])
def test_only_addresses_that_mail_can_go_to_are_fit(address: str | None, fit: str | None) -> None:
    assert fit_address(address) == fit


def test_a_bad_address_is_no_address() -> None:
    said = bound(address="nobody")
    assert isinstance(said, Refused) and said.reason == "no_address"


@pytest.mark.parametrize(("written", "read"), [
    ("Hi {first_name},", "Hi,"), ("Dear {first_name},\n\nwe", "Hello,\n\nwe"),
    ("It has been a while, {first_name}", "It has been a while"),
    ("Good day, {first_name}!\nYou", "Good day!\nYou"), ("{first_name}, it is", "It is"),
    ("No slot, none", "No slot, none")])
def test_without_a_name_nobody_is_called_anything(written: str, read: str) -> None:
    assert nameless(written) == read
