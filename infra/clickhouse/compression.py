"""Bodies in and out: Content-Encoding gzip, deflate, zstd and lz4, with `native_blocks` inside."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

import lz4.frame
import zstandard

from infra.clickhouse import native_blocks
from infra.clickhouse.errors import ClickHouseError

ENCODINGS = ("zstd", "lz4", "gzip", "deflate")
OUTPUT_STEP_BYTES = 1 << 20


class Decoder(Protocol):
    """Feed bytes as they come; `finish` raises when the stream is cut short."""

    def feed(self, raw: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None: ...


class Plain:
    def feed(self, raw: bytes) -> Iterator[bytes]:
        if raw:
            yield raw

    def finish(self) -> None:
        return


class Zlib:
    """gzip (also of several members) and deflate, in steps, so that a bomb cannot fill memory."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._stream.eof:
                self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
            self._begun = True
            try:
                plain = self._stream.decompress(raw, OUTPUT_STEP_BYTES)
            except zlib.error as fault:
                raise _broken("gzip", fault) from fault
            raw = self._stream.unused_data or self._stream.unconsumed_tail
            if plain:
                yield plain

    def finish(self) -> None:
        if self._begun and not self._stream.eof:
            raise _broken("gzip", "the stream ends too early")


class Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw:
            if self._stream.eof:
                self._stream = zstandard.ZstdDecompressor().decompressobj()
            self._begun = True
            try:
                plain = self._stream.decompress(raw)
            except zstandard.ZstdError as fault:
                raise _broken("zstd", fault) from fault
            raw = self._stream.unused_data if self._stream.eof else b""
            if plain:
                yield plain

    def finish(self) -> None:
        if self._begun and not self._stream.eof:
            raise _broken("zstd", "the stream ends too early")


class Lz4:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameDecompressor()
        self._begun = False

    def feed(self, raw: bytes) -> Iterator[bytes]:
        while raw or not self._stream.needs_input:
            if self._stream.eof:
                self._stream = lz4.frame.LZ4FrameDecompressor()
            self._begun = True
            try:
                plain = self._stream.decompress(raw, max_length=OUTPUT_STEP_BYTES)
            except RuntimeError as fault:
                raise _broken("lz4", fault) from fault
            raw = self._stream.unused_data or b""
            if plain:
                yield plain
            if self._stream.eof and not raw:
                return

    def finish(self) -> None:
        if self._begun and not self._stream.eof:
            raise _broken("lz4", "the stream ends too early")


def _broken(what: str, why: object) -> ClickHouseError:
    return native_blocks.broken(what, why)


def decoder(content_encoding: str) -> Decoder:
    """For the request's Content-Encoding. Raises ClickHouseError for one that nobody knows."""
    match content_encoding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip" | "deflate":
            return Zlib()
        case "zstd":
            return Zstd()
        case "lz4":
            return Lz4()
    raise ClickHouseError(48, f"Unknown compression method: {content_encoding}; the embedded "
                              f"engine speaks {', '.join(ENCODINGS)}")


class Encoder(Protocol):
    def feed(self, plain: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _PlainOut:
    def feed(self, plain: bytes) -> bytes:
        return plain

    def finish(self) -> bytes:
        return b""


class _ZlibOut:
    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.compressobj(3, zlib.DEFLATED, window_bits)

    def feed(self, plain: bytes) -> bytes:
        return self._stream.compress(plain) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


class _ZstdOut:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=1).compressobj()

    def feed(self, plain: bytes) -> bytes:
        packed = self._stream.compress(plain)
        return packed + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Lz4Out:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def feed(self, plain: bytes) -> bytes:
        opening = b"" if self._begun else self._stream.begin()
        self._begun = True
        return opening + self._stream.compress(plain)

    def finish(self) -> bytes:
        return (b"" if self._begun else self._stream.begin()) + self._stream.flush()


def choose(accept_encoding: str) -> str:
    """The encoding that we and the client both speak, empty for none."""
    accepted = {part.split(";")[0].strip().lower() for part in accept_encoding.split(",")
                if "q=0" not in part.replace(" ", "").split(";")[1:]}
    return next((name for name in ENCODINGS if name in accepted), "")


def encoder(content_encoding: str, *, blocks: bool) -> Encoder:
    """`blocks` (compress=1) goes first inside the Content-Encoding, as in ClickHouse."""
    outer = _outer(content_encoding)
    return _Both(native_blocks.Packer(), outer) if blocks else outer


def _outer(content_encoding: str) -> Encoder:
    match content_encoding:
        case "zstd":
            return _ZstdOut()
        case "lz4":
            return _Lz4Out()
        case "gzip":
            return _ZlibOut(zlib.MAX_WBITS | 16)
        case "deflate":
            return _ZlibOut(zlib.MAX_WBITS)
    return _PlainOut()


class _Both:
    def __init__(self, inner: Encoder, outer: Encoder) -> None:
        self._inner, self._outer = inner, outer

    def feed(self, plain: bytes) -> bytes:
        return self._outer.feed(self._inner.feed(plain))

    def finish(self) -> bytes:
        return self._outer.feed(self._inner.finish()) + self._outer.finish()
