"""The body of a request as it arrives: decoded, in pieces, and never missing its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from infra.clickhouse.compression import Decoder, Plain, decoder
from infra.clickhouse.errors import ClickHouseError
from infra.clickhouse.native_blocks import Unpacker
from infra.clickhouse.request import Ask


class Gone(Exception):
    """The client went away; there is nobody to answer."""


class Body:
    """`ended` tells that all of it has been read."""

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
                 ask: Ask) -> None:
        self._receive = receive
        self._outer: Decoder = decoder(ask.content_encoding)
        self._inner: Decoder = Unpacker() if ask.blocks_in else Plain()
        self.ended = False

    async def piece(self) -> bytes:
        """The next bytes, perhaps none. Raises Gone, or ClickHouseError for broken compression."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        plain = b"".join(deeper for outer in self._outer.feed(message.get("body", b""))
                         for deeper in self._inner.feed(outer))
        if not message.get("more_body", False):
            self._outer.finish()
            self._inner.finish()
            self.ended = True
        return plain

    async def whole(self, bytes_max: int) -> bytes:
        """All that is left. Raises ClickHouseError when it is more than `bytes_max`."""
        gathered = bytearray()
        while not self.ended:
            gathered += await self.piece()
            if len(gathered) > bytes_max:
                raise ClickHouseError(62, "Syntax error: the statement is too long; send rows "
                                          "with INSERT … FORMAT", "SYNTAX_ERROR")
        return bytes(gathered)

    async def rows(self, first: bytes, in_url: bytes) -> AsyncIterator[bytes]:
        """The rows of an INSERT: what followed its head, then the rest of the body.

        `in_url` is the part of the statement that came in the URL: when the head was all of it,
        the rows are the body and nothing else, whatever blank followed.
        """
        if not (in_url and first.isspace() and not self.ended):
            yield first
        while not self.ended:
            yield await self.piece()
