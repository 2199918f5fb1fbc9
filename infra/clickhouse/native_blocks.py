"""ClickHouse's own compressed blocks: `decompress=1` on the way in, `compress=1` on the way out.

A block is 16 bytes of CityHash128 (high word first), then one byte of method, the packed size
including these nine header bytes, the plain size, and the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from infra.clickhouse.errors import ClickHouseError

PLAIN_BYTES_MAX = 1 << 20
BLOCK_BYTES_MAX = 1 << 30
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_HASH_BYTES, _HEADER_BYTES = 16, 9


class Unpacker:
    """ClickHouse's own compressed blocks (`decompress=1`)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> Iterator[bytes]:
        self._rest += raw
        while (size := self._block_bytes()) is not None:
            block, self._rest = self._rest[:size], self._rest[size:]
            yield _unpack(block)

    def _block_bytes(self) -> int | None:
        """Size of the first block when all of it is here."""
        if len(self._rest) < _HASH_BYTES + _HEADER_BYTES:
            return None
        packed, plain = struct.unpack_from("<II", self._rest, _HASH_BYTES + 1)
        if not _HEADER_BYTES <= packed <= BLOCK_BYTES_MAX or plain > BLOCK_BYTES_MAX:
            raise broken("block", "its size is impossible")
        return _HASH_BYTES + packed if len(self._rest) >= _HASH_BYTES + packed else None

    def finish(self) -> None:
        if self._rest:
            raise broken("block", "the stream ends too early")


def _unpack(block: bytes) -> bytes:
    body = block[_HASH_BYTES:]
    if block[:_HASH_BYTES] != _checksum(body):
        raise ClickHouseError(40, "Checksum doesn't match: corrupted data",
                              "CHECKSUM_DOESNT_MATCH")
    method, (plain_bytes,) = body[0], struct.unpack_from("<I", body, 5)
    try:
        if method == _LZ4:
            return lz4.block.decompress(body[_HEADER_BYTES:], uncompressed_size=plain_bytes)
        if method == _ZSTD:
            return zstandard.ZstdDecompressor().decompress(body[_HEADER_BYTES:], plain_bytes)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as fault:
        raise broken("block", fault) from fault
    if method == _NONE:
        return body[_HEADER_BYTES:]
    raise ClickHouseError(432, f"Unknown codec family code: {method}")


def _checksum(body: bytes) -> bytes:
    whole = CityHash128(body)
    return struct.pack("<QQ", whole >> 64, whole & (1 << 64) - 1)


def broken(what: str, why: object) -> ClickHouseError:
    """Bytes that do not decompress."""
    return ClickHouseError(271, f"Cannot decompress {what}: {why}")


class Packer:
    """Answers with `compress=1`: LZ4 blocks of at most a mebibyte of plain bytes."""

    def feed(self, plain: bytes) -> bytes:
        return b"".join(_pack(plain[at:at + PLAIN_BYTES_MAX])
                        for at in range(0, len(plain), PLAIN_BYTES_MAX))

    def finish(self) -> bytes:
        return b""


def _pack(plain: bytes) -> bytes:
    packed = lz4.block.compress(plain, store_size=False)
    body = struct.pack("<BII", _LZ4, len(packed) + _HEADER_BYTES, len(plain)) + packed
    return _checksum(body) + body
