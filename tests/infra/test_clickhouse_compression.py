"""Bodies survive every encoding, however they are cut; damaged ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse import compression, native_blocks
from infra.clickhouse.errors import ClickHouseError

WAYS = [("", False), ("gzip", False), ("deflate", False), ("zstd", False), ("lz4", False),
        ("", True), ("gzip", True), ("lz4", True)]


def packed(parts: list[bytes], encoding: str, blocks: bool) -> bytes:
    encoder = compression.encoder(encoding, blocks=blocks)
    return b"".join(encoder.feed(part) for part in parts) + encoder.finish()


def unpacked(raw: bytes, encoding: str, blocks: bool, step: int) -> bytes:
    outer = compression.decoder(encoding)
    inner = native_blocks.Unpacker() if blocks else compression.Plain()
    found = b"".join(deep for at in range(0, len(raw), step)
                     for plain in outer.feed(raw[at:at + step]) for deep in inner.feed(plain))
    outer.finish()
    inner.finish()
    return found


@pytest.mark.parametrize(("encoding", "blocks"), WAYS)
@given(parts=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5),
       step=st.integers(1, 64))
def test_what_was_packed_comes_out_again(
        encoding: str, blocks: bool, parts: list[bytes], step: int) -> None:
    raw = packed(parts, encoding, blocks)
    assert unpacked(raw, encoding, blocks, step) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4"])
def test_several_streams_in_a_row_are_one(encoding: str) -> None:
    raw = packed([b"one"], encoding, False) + packed([b"two"], encoding, False)
    assert unpacked(raw, encoding, False, 7) == b"onetwo"


@pytest.mark.parametrize(("encoding", "blocks"), [way for way in WAYS if way != ("", False)])
def test_a_stream_cut_short_is_an_error(encoding: str, blocks: bool) -> None:
    raw = packed([bytes(range(256)) * 40], encoding, blocks)
    with pytest.raises(ClickHouseError):
        unpacked(raw[:-3], encoding, blocks, 1000)


def test_more_than_a_mebibyte_goes_through_in_several_blocks() -> None:
    plain = bytes(range(256)) * 10_000
    assert unpacked(packed([plain], "", True), "", True, 65536) == plain


def test_a_flipped_bit_does_not_pass_the_checksum() -> None:
    raw = bytearray(packed([b"hello hello hello"], "", True))
    raw[-1] ^= 1
    with pytest.raises(ClickHouseError) as fault:
        unpacked(bytes(raw), "", True, 100)
    assert fault.value.code == 40


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ClickHouseError, match="br"):
        compression.decoder("br")


@pytest.mark.parametrize(("accept", "chosen"), [
    ("gzip, deflate, br", "gzip"), ("lz4,zstd;q=1.0", "zstd"), ("br", ""), ("", ""),
    ("zstd;q=0, gzip", "gzip")])
def test_the_encoding_is_one_that_both_speak(accept: str, chosen: str) -> None:
    assert compression.choose(accept) == chosen
