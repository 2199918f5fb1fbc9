"""Links: what was signed is read back, and nothing else is."""

from __future__ import annotations

import base64

import pytest
from deliver_parts import KEY, message
from hypothesis import given
from hypothesis import strategies as st

from streams.deliver import links
from streams.deliver.links import Link, Signer

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
TIMES = st.integers(0, 2**53)
LINKS = st.builds(Link, st.sampled_from(links.KINDS), TEXTS, TEXTS, TEXTS, TEXTS, TIMES, TIMES,
                  TEXTS)


@given(st.sampled_from(["http://", "https://", "ftp://"]),
       st.text(st.characters() | st.sampled_from(" \n\x1f\x85\xa0\u2028\u3000"), max_size=8))
def test_a_web_address_has_no_white_space_of_any_script(scheme: str, rest: str) -> None:
    wanted = scheme != "ftp://" and not any(c.isspace() or ord(c) < 32 for c in rest)
    assert links.is_web_address(scheme + rest) is wanted


@given(LINKS)
def test_a_signed_link_is_read_back(link: Link) -> None:
    assert links.read(KEY, links.sign(KEY, link)) == link


@given(LINKS)
def test_another_key_reads_nothing(link: Link) -> None:
    assert links.read(b"x" * 32, links.sign(KEY, link)) is None


@given(LINKS, st.data())
def test_a_token_with_any_character_changed_is_not_ours(link: Link, data: st.DataObject) -> None:
    token = links.sign(KEY, link)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_.").filter(lambda char: char != token[at]))
    assert links.read(KEY, token[:at] + other + token[at + 1:]) is None


@given(st.text(max_size=300))
def test_strangers_tokens_are_none_and_never_an_error(token: str) -> None:
    assert links.read(KEY, token) is None


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"null", b'{"k":"open"}', b"\xff",
                                     b'{"k":"own","d":"","p":"","t":"","c":"","m":1,"w":1,"u":""}'])
def test_a_payload_of_another_build_is_none_even_when_signed(payload: bytes) -> None:
    text = base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    seal = links._base64(links._seal(KEY, text.encode()))
    assert links.read(KEY, f"{text}.{seal}") is None


def test_a_token_holds_pseudonyms_only() -> None:
    signer = Signer("http://h", KEY, message())
    for url in (signer.pixel, signer.unsubscribe, signer.click("https://shop.example/lamp")):
        payload = url.rsplit("/", 1)[1].partition(".")[0]
        said = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        assert b"@" not in said and b"Ada" not in said


@pytest.mark.parametrize(("target", "fine"), [
    ("https://shop.example/a?b=c#d", True), ("http://127.0.0.1:8/x", True),
    ("javascript:alert(1)", False), ("//evil.example", False), ("", False), ("ftp://x/y", False),
    ("https://a.example/\r\nSet-Cookie: x", False), ("https://a b", False)])
def test_only_web_addresses_may_be_followed(target: str, fine: bool) -> None:
    assert links.is_web_address(target) is fine


def test_the_tenants_time_travels_with_the_link() -> None:
    link = Link("open", "d", "p", "t", "email", moment_ms=1000, decided_ms=50_000)
    assert link.now_ms(50_250) == 1250
    assert link.now_ms(49_000) == 1000
