"""Decoding: a batch's values into columns at once, with the culprits found out. Pure.

The values are strung together into one Avro container, each behind a prefix of two long fields: a
fixed guard and its offset (Avro records are plain concatenation). A container has no framing per
record, so one malformed value shifts all that follow, perhaps without an error; then a guard, an
offset or the sentinel at the end is wrong, and the batch is decoded record by record instead.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import polars as pl

from schemas import Contract, contract
from schemas.encoding import zigzag
from sinks.intents import Arrival
from sinks.topics import BETWEEN_STAGES, Landing

_GUARD: Final = 0x4B41_4952_4F53          # "KAIROS"
_SYNC: Final = b"kairos-container"
_POLARS: Final[dict[str, Any]] = {"string": pl.String, "int": pl.Int32, "long": pl.Int64,
                                  "double": pl.Float64, "boolean": pl.Boolean, "bytes": pl.Binary}


@dataclass(frozen=True, slots=True)
class Fault:
    """A record that cannot land, and why."""

    record: Arrival
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """rows      columns of the landing table, one row per readable record, in offset order
    faults    records that do not keep their contract
    controls  how many were watermarks, handovers, changes of items or tombstones, which rightly
              do not land
    """

    rows: pl.DataFrame
    faults: tuple[Fault, ...]
    controls: int


def decode(landing: Landing, topic_id: str, records: Sequence[Arrival]) -> Decoded:
    """Total: whatever the bytes are, each record ends as a row, a fault or a control."""
    kind, data, faults, controls = landing.contract, [], [], 0
    for record in records:
        value = record.value
        if value is None or any(contract(name).is_mine(value) for name in BETWEEN_STAGES):
            controls += 1
        elif not kind.is_mine(value):
            faults.append(Fault(record, "unknown_schema", f"not a {kind.name} record"))
        elif not 0 <= record.appended_ms < 4_000_000_000_000:
            faults.append(Fault(record, "bad_value", "Kafka's timestamp is no moment"))
        else:
            data.append(record)
    frame = _fast(kind, data)
    if frame is None:
        frame, data, broken = _slow(kind, data)
        faults += broken
    faults.sort(key=lambda fault: fault.record.offset)
    return Decoded(_landed(landing, topic_id, frame, data), tuple(faults), controls)


def _fast(kind: Contract, records: Sequence[Arrival]) -> pl.DataFrame | None:
    """The columns of `records`, or None when any of them is suspect."""
    offsets = [record.offset for record in records]
    try:
        frame = pl.read_avro(io.BytesIO(_container(kind, records)))
        whole = (frame.height == len(records) + 1 and bool((frame["_guard"] == _GUARD).all())
                 and frame["_index"].to_list() == [*offsets, -1])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError):
        return None          # a panic is how polars answers some malformed lengths
    return frame.head(len(records)).drop("_guard", "_index") if whole else None


def _slow(kind: Contract, records: Sequence[Arrival],
          ) -> tuple[pl.DataFrame, list[Arrival], list[Fault]]:
    """Record by record: the columns of the good ones, the good ones, the culprits."""
    good, frames, faults = [], [], []
    for record in records:
        try:
            fields = kind.decode(record.value or b"")
            frames.append(pl.DataFrame([fields], schema=_schema(kind.name), strict=True))
            good.append(record)
        except (ValueError, TypeError, OverflowError, pl.exceptions.PolarsError) as fault:
            faults.append(Fault(record, "bad_avro", str(fault)[:300]))
    empty = pl.DataFrame(schema=_schema(kind.name))
    return pl.concat([empty, *frames]), good, faults


def _landed(landing: Landing, topic_id: str, frame: pl.DataFrame,
            records: Sequence[Arrival]) -> pl.DataFrame:
    sizes = [pl.col(name).bin.size().fill_null(0).cast(pl.UInt32).alias(f"{name}_bytes")
             for name in landing.withheld]
    return frame.with_columns(
        *sizes, pl.lit(topic_id).alias("_topic_id"),
        pl.Series("_partition", [r.partition for r in records], pl.UInt32),
        pl.Series("_offset", [r.offset for r in records], pl.UInt64),
        pl.Series("_appended_ms", [r.appended_ms for r in records], pl.Int64),
    ).drop(*landing.withheld)


@cache
def _schema(name: str) -> dict[str, Any]:
    return {field: _POLARS[_plain(spec["type"])] for field, spec in contract(name).fields.items()}


def _plain(avro: Any) -> str:
    return next(part for part in avro if part != "null") if isinstance(avro, list) else str(avro)


@cache
def _head(name: str) -> bytes:
    """Container header with the guarded schema."""
    fields = [{"name": "_guard", "type": "long"}, {"name": "_index", "type": "long"},
              *({"name": field, "type": spec["type"]}
                for field, spec in contract(name).fields.items())]
    schema = json.dumps({"type": "record", "name": "Guarded", "fields": fields}).encode()
    return (b"Obj\x01" + zigzag(2) + zigzag(11) + b"avro.schema" + zigzag(len(schema)) + schema
            + zigzag(10) + b"avro.codec" + zigzag(4) + b"null" + zigzag(0) + _SYNC)


@cache
def _sentinel(name: str) -> bytes:
    zeros = {"string": "", "int": 0, "long": 0, "double": 0.0, "boolean": False, "bytes": b""}
    blank = {field: zeros[_plain(spec["type"])] for field, spec in contract(name).fields.items()}
    return zigzag(_GUARD) + zigzag(-1) + contract(name).encode_body(blank)


def _container(kind: Contract, records: Sequence[Arrival]) -> bytes:
    guard, skip = zigzag(_GUARD), len(kind.prefix)
    parts = [part for record in records
             for part in (guard, zigzag(record.offset), (record.value or b"")[skip:])]
    block = b"".join([*parts, _sentinel(kind.name)])
    return b"".join((_head(kind.name), zigzag(len(records) + 1), zigzag(len(block)), block, _SYNC))
