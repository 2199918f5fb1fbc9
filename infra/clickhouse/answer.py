"""The answer to a query: ClickHouse's headers, the summary, compression, errors early and late."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from infra.clickhouse import compression, formats
from infra.clickhouse.engine import Engine
from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.query import Query, Tally
from infra.clickhouse.request import Ask

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
KEEP_ALIVE_S = 60


async def plain(send: Send, status: int, body: bytes) -> None:
    """An answer that has nothing to do with a query."""
    await send({"type": "http.response.start", "status": status, "headers": [
        (b"content-type", b"text/plain; charset=UTF-8"),
        (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


class Reply:
    """One answer. `before_end` runs once, before the client can know that the answer is over."""

    def __init__(self, engine: Engine, send: Send) -> None:
        self._engine, self._send = engine, send
        self._headers: list[tuple[bytes, bytes]] = []
        self._encoding, self._blocks = "", False
        self._encoder: compression.Encoder | None = None
        self._tag = secrets.token_hex(8)
        self._began_s = time.monotonic()
        self.before_end: Callable[[], None] = lambda: None

    def ready(self, ask: Ask, query_id: str) -> None:
        """Now that it is known who asks and how, the headers that every answer has."""
        self._encoding = compression.choose(ask.accept_encoding)
        self._blocks = ask.blocks_out
        engine = self._engine
        self._headers = [
            (b"x-clickhouse-server-display-name", engine.display_name.encode()),
            (b"x-clickhouse-query-id", query_id.encode("latin-1", "replace")),
            (b"x-clickhouse-timezone", engine.timezone.encode()),
            (b"x-clickhouse-exception-tag", self._tag.encode()),
            (b"keep-alive", f"timeout={KEEP_ALIVE_S}".encode())]

    def end(self) -> None:
        """Run what must happen before the end; later calls do nothing."""
        step, self.before_end = self.before_end, lambda: None
        step()

    async def empty(self, tally: Tally) -> None:
        """No result: INSERT, DDL, SET."""
        await self._whole(200, b"", self._summary(tally))

    async def part(self, query: Query, piece: bytes) -> None:
        """Some of a result, with more to come."""
        if self._encoder is None:
            self._encoder = compression.encoder(self._encoding, blocks=self._blocks)
            await self._start(query)
        await self._send({"type": "http.response.body", "body": self._encoder.feed(piece),
                          "more_body": True})

    async def last(self, query: Query, piece: bytes) -> None:
        """The end of a result, or all of it."""
        if self._encoder is not None:
            packed = self._encoder.feed(piece) if piece else b""
            self.end()
            await self._send({"type": "http.response.body",
                              "body": packed + self._encoder.finish()})
            return
        named = self._named(query) if query.answers else []
        await self._whole(200, piece, [*named, *self._summary(query.tally)])

    async def refuse(self, fault: ClickHouseError) -> None:
        """An error, as an answer of its own or in the middle of one that has begun."""
        body = fault.body(self._engine.version)
        if self._encoder is not None:
            await self._break_off(body)
            return
        code = (b"x-clickhouse-exception-code", str(fault.code).encode())
        kind = (b"content-type", b"text/plain; charset=UTF-8")
        await self._whole(fault.status, body, [code, kind])

    async def _break_off(self, message: bytes) -> None:
        """The exception block, and then no proper end: nobody may take the answer for whole."""
        assert self._encoder is not None
        tag = self._tag.encode()
        block = (b"\r\n__exception__\r\n" + tag + b"\r\n" + message
                 + f"{len(message)} ".encode() + tag + b"\r\n__exception__\r\n")
        packed = self._encoder.feed(block) + self._encoder.finish()
        await self._send({"type": "http.response.body", "body": packed, "more_body": True})

    async def _start(self, query: Query) -> None:
        headers = [*self._headers, *self._named(query), *self._summary(query.tally)]
        if self._encoding:
            headers.append((b"content-encoding", self._encoding.encode()))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _whole(self, status: int, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
        headers = [*self._headers, *more]
        if body:
            encoder = compression.encoder(self._encoding, blocks=self._blocks)
            body = encoder.feed(body) + encoder.finish()
            if self._encoding:
                headers.append((b"content-encoding", self._encoding.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
        self.end()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def _named(self, query: Query) -> list[tuple[bytes, bytes]]:
        return [(b"x-clickhouse-format", query.output.encode()),
                (b"content-type", formats.content_type(query.output).encode())]

    def _summary(self, tally: Tally) -> list[tuple[bytes, bytes]]:
        """All values are strings, as ClickHouse writes them."""
        elapsed_ns = int((time.monotonic() - self._began_s) * 1e9)
        said = {"read_rows": tally.read_rows, "read_bytes": tally.read_bytes,
                "written_rows": tally.written_rows, "written_bytes": tally.written_bytes,
                "total_rows_to_read": tally.read_rows, "result_rows": tally.result_rows,
                "result_bytes": tally.result_bytes, "elapsed_ns": elapsed_ns}
        text = json.dumps({key: str(value) for key, value in said.items()}, separators=(",", ":"))
        return [(b"x-clickhouse-summary", text.encode())]
