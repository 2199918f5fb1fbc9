"""Real SMTP against the real catcher: taken, later, never, and a server that goes and comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from deliver_parts import NOW_MS, PROFILE, Shelf, batch, deliveries, logic, message, partition
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import contract
from streams.adapters.mailbox import Mailbox, take_apart
from streams.adapters.smtp import SmtpChannel
from streams.adapters.web.catcher import Catcher, api
from streams.adapters.web.listening import listen
from streams.deliver.agent import LoopClock
from streams.deliver.ports import Parcel, Reply
from streams.engine.records import Out
from streams.settings import Settings

RAW = (b"From: a@b.example\r\nTo: c@d.example\r\nSubject: hi\r\nMessage-ID: <1@b.example>\r\n"
       b"\r\nText\r\n")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def settings_for(home: Path, port: int) -> Settings:
    return Settings.model_construct(**{
        **{name: field.default for name, field in Settings.model_fields.items()},
        "home": home, "smtp_port": port, "mail_from": "Shop <hello@shop.example>"})


@asynccontextmanager
async def serving(box: Mailbox, port: int, **behaviour: int | str) -> AsyncIterator[Catcher]:
    catcher = Catcher(box, lambda: NOW_MS, **behaviour)
    server = await catcher.listen(listen("127.0.0.1", port, "KAIROS_SMTP_PORT"))
    try:
        yield catcher
    finally:
        server.close()


def parcel(name: str = "1", to: str = "c@d.example") -> Parcel:
    return Parcel(name, to, RAW.replace(b"<1@", f"<{name}@".encode()), f"<{name}@b.example>")


def test_a_message_arrives_byte_for_byte_and_a_repeat_is_counted(tmp_path: Path) -> None:
    async def go() -> None:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        async with serving(box, port):
            channel = SmtpChannel(settings_for(tmp_path, port))
            for _ in range(3):
                assert await channel.send(parcel()) == Reply("taken", "2.0.0 taken",
                                                             confirmed=True)
            assert (await channel.send(parcel("2"))).verdict == "taken"
            await channel.close()
        first, second = box.after(0, 10)
        assert (first.raw, first.repeats, second.repeats) == (RAW, 2, 0)
        assert (first.recipient, first.subject, first.received_ms) == ("c@d.example", "hi", NOW_MS)
        assert box.counts() == (2, 2)

    asyncio.run(go())


def test_the_servers_words_become_verdicts(tmp_path: Path) -> None:
    async def go() -> None:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        channel = SmtpChannel(settings_for(tmp_path, port))
        assert (await channel.send(parcel())).verdict == "down"
        async with serving(box, port, fail_first=1, refuse="*@gone.example"):
            busy = await channel.send(parcel())
            assert (busy.verdict, busy.detail[:3]) == ("later", "451")
            gone = await channel.send(parcel("2", "x@gone.example"))
            assert gone == Reply("refused", "550 5.1.1 no such mailbox", bounced=True,
                                 address_bad=True)
            assert (await channel.send(parcel("3"))).verdict == "taken"
            await channel.close()

    asyncio.run(go())


def test_a_full_disk_at_the_mail_server_means_later(tmp_path: Path) -> None:
    async def go() -> None:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        async with serving(box, port):
            channel = SmtpChannel(settings_for(tmp_path, port))
            box._db.execute("PRAGMA max_page_count = 1")
            full = await channel.send(Parcel("1", "c@d.example", RAW + b"xxxx\r\n" * 40_000, ""))
            assert (full.verdict, full.detail[:3]) == ("later", "452")
            await channel.close()

    asyncio.run(go())


def test_a_kept_connection_that_the_server_closed_is_replaced_in_silence(tmp_path: Path) -> None:
    async def go() -> None:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        channel = SmtpChannel(settings_for(tmp_path, port))
        async with serving(box, port):
            assert (await channel.send(parcel())).verdict == "taken"
            kept = channel._idle[0]
            assert kept.transport is not None
            kept.transport.abort()
            assert (await channel.send(parcel("2"))).verdict == "taken"
            await channel.close()

    asyncio.run(go())


def test_an_outage_in_the_middle_of_a_batch_loses_and_repeats_nothing(tmp_path: Path) -> None:
    count = 40
    vault = Shelf(**{f"{at:032x}": {"email": f"p{at}@shop.example"} for at in range(count)})
    records = batch(*(message(profile_id=f"{at:032x}", decision_id=f"{at:032x}")
                      for at in range(count)))

    async def go() -> list[tuple[str, str]]:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        channel = SmtpChannel(settings_for(tmp_path, port), timeout_s=5)
        stage = logic(channel, vault=vault, clock=LoopClock)
        out = Out("deliver", NOW_MS)
        walk = asyncio.create_task(stage.walk(partition(), records, out))
        await asyncio.sleep(0.3)                 # nobody listens yet: the circuit is open
        assert box.counts()[0] == 0 and not walk.done()
        async with serving(box, port, fail_first=3):
            await walk
            await channel.close()
        assert box.counts() == (count, 0)
        return deliveries([(each.topic, contract(each.topic).decode(each.value))
                           for each in out.emissions])

    assert asyncio.run(go()) == [("sent", "")] * count


def test_what_arrives_can_be_read_clicked_and_ended(tmp_path: Path) -> None:
    async def go() -> None:
        port, box = free_port(), Mailbox(tmp_path / "m.sqlite")
        async with serving(box, port):
            channel = SmtpChannel(settings_for(tmp_path, port))
            out = Out("deliver", NOW_MS)
            await logic(channel, clock=LoopClock).walk(partition(), batch(message()), out)
            await channel.close()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api(box)),
                                     base_url="http://mail") as client:
            said = (await client.get("/api/messages?after=0&limit=10")).json()
            (mail,) = said["messages"]
            assert said["next_after"] == mail["id"] == 1
            assert (mail["to"], mail["subject"]) == ("ada@shop.example", "Your cart, Ada")
            assert (mail["decision"], mail["variant"]) == ("d" * 32, "plain")
            assert [mail[name].split("/")[3] for name in ("open_url", "click_url",
                                                          "unsubscribe_url")] == ["o", "c", "u"]
            assert len(mail["links"]) == 3 and mail["text"].startswith("Hello Ada,")
            raw = await client.get("/api/messages/1/raw")
            assert raw.content == box.after(0, 1)[0].raw
            assert (await client.get("/api/messages?after=1")).json() == {
                "messages": [], "next_after": 1}
            assert (await client.get("/api/messages/99/raw")).status_code == 404
            assert (await client.get("/healthz")).json()["ok"] is True

    asyncio.run(go())


def test_the_oldest_make_room(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "m.sqlite", keep_count=5)
    for at in range(12):
        box.add(RAW.replace(b"<1@", f"<{at}@".encode()), ["c@d.example"], now_ms=at)
    box.trim()
    assert [mail.received_ms for mail in box.after(0, 100)] == [7, 8, 9, 10, 11]
    assert [mail.received_ms for mail in box.latest(2)] == [11, 10]


@pytest.mark.parametrize("raw", [b"", b"\xff\xfe",
                                 b"Content-Type: text/plain; charset=nope\r\n\r\nx",
                                 b"Subject: =?x?q?=\r\n\r\nhttp://a.example",
                                 b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"])
def test_these_bytes_can_be_taken_apart(raw: bytes, tmp_path: Path) -> None:
    take_apart(raw)
    box = Mailbox(tmp_path / "m.sqlite")
    box.add(raw, [PROFILE], now_ms=1)
    assert box.after(0, 1)[0].raw == raw


@given(st.sampled_from(["Subject", "Message-ID", "Content-Type", "Content-Disposition",
                        "X-Kairos-Variant", "Content-Transfer-Encoding"]), st.binary(max_size=60))
@example("Message-ID", b"<[")
@example("Subject", b"=?utf-8?b?//8=?=")
@example("Content-Type", b"text/plain; charset*=utf-8'")
def test_any_header_can_be_taken_apart(name: str, value: bytes) -> None:
    box = Mailbox(Path(":memory:"))
    raw = name.encode() + b": " + value + b"\r\n\r\nText"
    box.add(raw, ["c@d.example"], now_ms=1)
    assert box.after(0, 1)[0].raw == raw
    take_apart(raw)
    box.close()
