"""The webhook channel against a receiver that checks signatures, over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import uvicorn
from deliver_parts import KEY, NOW_MS, batch, deliveries, logic, message, partition
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas import contract
from streams.adapters.web.listening import listen
from streams.adapters.webhook import WebhookChannel
from streams.deliver import links, signature
from streams.deliver.agent import LoopClock
from streams.deliver.ports import Parcel
from streams.engine.records import Out

PARCEL = Parcel("d1", "", b'{"a":1}', "d1")


class Receiver:
    """Answers from a list of status codes, then 200; keeps what it was sent."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []

    async def take(self, request: Request) -> Response:
        body = await request.body()
        wrong = signature.fault(KEY, body, request.headers.get(signature.HEADER, ""),
                                now_s=int(time.time()))
        if wrong:
            return Response(wrong, 401)
        self.bodies.append(orjson.loads(body))
        self.keys.append(request.headers["idempotency-key"])
        return Response(status_code=self.codes.pop(0) if self.codes else 200)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        where = listen("127.0.0.1", 0, "")
        server = uvicorn.Server(uvicorn.Config(
            Starlette(routes=[Route("/hook", self.take, methods=["POST"])]), log_level="error"))
        task = asyncio.create_task(server.serve(sockets=[where]))
        try:
            yield f"http://127.0.0.1:{where.getsockname()[1]}/hook"
        finally:
            server.should_exit = True
            await task


@pytest.mark.parametrize(("code", "verdict"), [
    (200, "taken"), (202, "taken"), (302, "refused"), (400, "refused"), (401, "refused"),
    (410, "refused"), (408, "later"), (429, "later"), (500, "later"), (503, "down")])
def test_the_receivers_status_becomes_a_verdict(code: int, verdict: str) -> None:
    async def go() -> str:
        async with Receiver(code).serving() as url:
            channel = WebhookChannel(url, KEY)
            reply = await channel.send(PARCEL)
            await channel.close()
            return reply.verdict

    assert asyncio.run(go()) == verdict


def test_a_receiver_with_another_key_refuses() -> None:
    async def go() -> None:
        async with Receiver().serving() as url:
            channel = WebhookChannel(url, b"another key of thirty-two bytes!")
            assert (await channel.send(PARCEL)).verdict == "refused"
            await channel.close()

    asyncio.run(go())


def test_nobody_there_means_down() -> None:
    async def go() -> None:
        channel = WebhookChannel("http://127.0.0.1:9/hook", KEY)
        assert (await channel.send(PARCEL)).verdict == "down"
        await channel.close()

    asyncio.run(go())


def test_a_decision_reaches_the_receiver_with_its_key_on_every_try() -> None:
    receiver = Receiver(500, 429)

    async def go() -> Out:
        async with receiver.serving() as url:
            channel, out = WebhookChannel(url, KEY), Out("deliver", NOW_MS)
            await logic(channel, name="webhook", clock=LoopClock).walk(
                partition(), batch(message(channel="webhook")), out)
            await channel.close()
            return out

    out = asyncio.run(go())
    emitted = [(each.topic, contract(each.topic).decode(each.value)) for each in out.emissions]
    assert deliveries(emitted) == [("sent", "")] and len(emitted) == 1
    assert (emitted[0][1]["attempts"], emitted[0][1]["provider_id"]) == (3, "d" * 32)
    assert receiver.keys == ["d" * 32] * 3
    assert receiver.bodies[0] == receiver.bodies[2]
    body = receiver.bodies[0]
    assert body["text"].startswith("Hello Ada,") and "@" not in str(body)
    token = links.read(KEY, body["receipt_token"])
    assert token is not None and (token.kind, token.channel) == ("receipt", "webhook")


@given(st.binary(max_size=200), st.integers(0, 10**10))
def test_a_signature_fits_its_body_and_time_only(body: bytes, unix_s: int) -> None:
    header = signature.sign(KEY, body, unix_s=unix_s)
    assert signature.fault(KEY, body, header, now_s=unix_s + 300) == ""
    assert signature.fault(KEY, body, f"{header},v1=00", now_s=unix_s) == ""
    assert "older" in signature.fault(KEY, body, header, now_s=unix_s + 301)
    assert "match" in signature.fault(KEY, body + b"x", header, now_s=unix_s)
    moved = header.replace(f"t={unix_s}", f"t={unix_s + 1}", 1)
    assert "match" in signature.fault(KEY, body, moved, now_s=unix_s)


@given(st.text(max_size=100))
def test_any_header_is_judged_without_an_error(header: str) -> None:
    assert signature.fault(KEY, b"", header, now_s=0) != ""
