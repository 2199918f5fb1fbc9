"""The streams of the benchmark: seeded, made by numpy, as columns; JSON or Avro only when produced.

Every source gives strictly increasing event times, so that a time names its event.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.signal.workloads import (
    ABSENCE_MS,
    CART_ADD,
    KINDS,
    PURCHASE,
    TICK,
    VIEW,
    WISHLIST,
    Event,
)

START_MS = 1_600_000_000_000
STEP_MS = 400
USERS_MAX = 9_999_999
ITEMS = 20_000
SOURCES = ("zipf", "many", "otto", "retail", "absence")
RETAIL = (Path(__file__).resolve().parents[2]
          / "streams/worlds/data/online_retail_ii_2009_2010.parquet")

Ints = npt.NDArray[np.int64]

# Shares of KINDS. OTTO's clicks, carts and orders stand as 90 : 8 : 2.
_MIX = (0.58, 0.17, 0.12, 0.08, 0.05)
_MIX_OTTO = (0.86, 0.04, 0.07, 0.01, 0.02)
_MIX_ABSENCE = (0.40, 0.05, 0.35, 0.05, 0.15)
# One user in so many buys often enough to be excluded by the rule of W2 most of the time.
_BROWSERS_ONE_IN = 16


@dataclass(frozen=True)
class Stream:
    """Events as columns, in order of time. `ticks` closing records follow in every partition; the
    first `swept` events are one of every user."""

    user: Ints
    kind: Ints
    ms: Ints
    cents: Ints
    item: Ints
    partitions: int
    ticks: bool = False
    swept: int = 0

    @property
    def warm(self) -> float:
        """Events that are taken in before anything is measured."""
        return self.swept or len(self) / 3

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def partition(self) -> Ints:
        """Where Kafka's default partitioner (murmur2) puts each event."""
        return murmur2_8(self.user) % self.partitions

    @cached_property
    def offset(self) -> Ints:
        """Each event's offset in its partition, when the topic holds this stream alone."""
        offsets = np.empty(len(self), np.int64)
        for partition in range(self.partitions):
            mine = self.partition == partition
            offsets[mine] = np.arange(int(mine.sum()))
        return offsets

    def ends(self) -> list[int]:
        """Records in each partition, ticks included."""
        sizes = np.bincount(self.partition, minlength=self.partitions)
        return [int(size) + self.ticks for size in sizes]

    def events(self) -> Iterator[Event]:
        """What the twins read."""
        columns = (column.tolist() for column in (self.user, self.kind, self.ms, self.cents))
        for user, kind, ms, cents in zip(*columns, strict=True):
            yield name_of(user), kind, ms, cents
        if self.ticks:
            for partition in range(self.partitions):
                yield TICK, -1, self.tick_ms(partition), 0

    def tick_ms(self, partition: int) -> int:
        # Sessions of some systems close two gaps after their last event.
        return int(self.ms[-1]) + 3 * ABSENCE_MS + partition

    def of_users_with(self, events: int) -> Stream:
        """Without the users who have fewer."""
        often = np.bincount(self.user)[self.user] >= events
        return Stream(*(column[often] for column in (self.user, self.kind, self.ms, self.cents,
                                                     self.item)), self.partitions, self.ticks)

    def slice(self, begin: int, end: int) -> Stream:
        return Stream(self.user[begin:end], self.kind[begin:end], self.ms[begin:end],
                      self.cents[begin:end], self.item[begin:end], self.partitions)

    def records(self, form: str) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of every event, `form` json (about 174 bytes) or avro."""
        render = {"json": _json, "avro": _avro}[form]
        columns = (column.tolist() for column in (self.user, self.kind, self.ms, self.cents,
                                                  self.item))
        for user, kind, ms, cents, item in zip(*columns, strict=True):
            key = b"u%07d" % user
            yield key, render(key, _KIND_BYTES[kind], ms, cents, item)

    def closing(self, form: str) -> Iterator[tuple[int, bytes, bytes]]:
        """(partition, key, value) of the ticks."""
        render = {"json": _json, "avro": _avro}[form]
        for partition in range(self.partitions if self.ticks else 0):
            key = TICK.encode()
            yield partition, key, render(key, key, self.tick_ms(partition), 0, 0)


def make(source: str, *, events: int, users: int, seed: int = 1, skew: float = 0.9,
         partitions: int = 8, sweep: bool = False) -> Stream:
    """A stream of `source`. `sweep` begins with one view of every user, a thousand a second, as
    "many" always does: what is measured then finds everybody there.

    Raises ValueError for an unknown source or more users than ids have digits.
    """
    if source not in SOURCES:
        raise ValueError(f"source {source!r} is none of {', '.join(SOURCES)}")
    if not 1 <= users <= USERS_MAX or events < 1:
        raise ValueError(f"users must be 1 to {USERS_MAX:,} and events at least 1")
    dice = np.random.default_rng(seed)
    if source == "retail":
        return _retail(events, partitions)
    if source == "otto":
        return _otto(dice, events, users, partitions)
    if source == "absence":
        return _absence(dice, events, users, partitions)
    user = _zipf(dice, events, users, skew)
    kind = dice.choice(len(KINDS), events, p=_MIX)
    browser = (user * 2_654_435_761 >> 7) % _BROWSERS_ONE_IN == 0
    kind[browser & (kind == PURCHASE)] = WISHLIST
    step = np.full(events, STEP_MS)
    first = min(users, events) if sweep or source == "many" else 0
    if first:
        user[:first], kind[:first], step[:first] = dice.permutation(users)[:first], VIEW, 1
    return Stream(user, kind, START_MS + np.cumsum(step), *_wares(dice, events), partitions,
                  swept=first)


def _zipf(dice: np.random.Generator, events: int, users: int, skew: float) -> Ints:
    heights = np.cumsum(np.arange(1, users + 1, dtype=np.float64) ** -skew)
    rank = np.searchsorted(heights, dice.random(events) * heights[-1])
    return np.asarray(dice.permutation(users)[rank], np.int64)


def _wares(dice: np.random.Generator, events: int) -> tuple[Ints, Ints]:
    return dice.integers(199, 10_000, events), dice.integers(0, ITEMS, events)


def _absence(dice: np.random.Generator, events: int, users: int, partitions: int) -> Stream:
    """First a cart_add of every user within half an hour: all timers are pending at once."""
    user, kind = dice.integers(0, users, events), dice.choice(len(KINDS), events, p=_MIX_ABSENCE)
    first = min(users, events)
    user[:first], kind[:first] = dice.permutation(users)[:first], CART_ADD
    # A million users are armed in 1,000 s; the rest of the stream takes three more half hours.
    step = np.full(events, max(1, 3 * ABSENCE_MS // max(1, events - first)))
    step[:first] = max(1, ABSENCE_MS // 2 // first)
    return Stream(user, kind, START_MS + np.cumsum(step), *_wares(dice, events), partitions,
                  ticks=True)


def _otto(dice: np.random.Generator, events: int, users: int, partitions: int) -> Stream:
    """Sessions as in OTTO's data: median 6, mean about 17, at most 495 events; minutes apart."""
    lengths = np.clip(np.ceil(dice.lognormal(np.log(6), 1.45, events)), 1, 495).astype(np.int64)
    lengths = lengths[:int(np.searchsorted(np.cumsum(lengths), events)) + 1]
    session = np.repeat(np.arange(len(lengths)), lengths)[:events]
    begin = np.sort(dice.integers(0, events * STEP_MS, len(lengths)))
    gaps = dice.lognormal(np.log(40_000), 1.2, events)
    gaps[np.r_[True, session[1:] != session[:-1]]] = 0
    run = np.cumsum(gaps)
    ms = begin[session] + run - run[np.r_[True, session[1:] != session[:-1]]][session]
    order = np.argsort(ms, kind="stable")
    user = dice.integers(0, users, len(lengths))[session]
    kind = dice.choice(len(KINDS), events, p=_MIX_OTTO)
    return Stream(user[order], kind, _strictly(START_MS + ms[order].astype(np.int64)),
                  *_wares(dice, events), partitions)


def _retail(events: int, partitions: int) -> Stream:
    """A real retailer's invoices: a line is a view, each eighth a cart_add, the last a purchase."""
    import polars as pl

    lines = (pl.read_parquet(RETAIL).filter(
        pl.col("Customer ID").is_not_null() & ~pl.col("Invoice").str.starts_with("C"))
        .with_columns(
            ms=pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S").dt.epoch("ms"),
            cents=(pl.col("Price") * pl.col("Quantity") * 100).round().clip(0, 1_000_000)
            .cast(pl.Int64),
            item=pl.col("StockCode").cast(pl.Categorical).to_physical().cast(pl.Int64),
            user=pl.col("Customer ID").cast(pl.Int64),
            number=pl.int_range(pl.len()).over("Invoice"),
            lines=pl.len().over("Invoice")).sort("ms", "Invoice", "number"))
    kind = np.where(lines["number"].to_numpy() % 8 == 7, CART_ADD, VIEW)
    kind[lines["number"].to_numpy() == lines["lines"].to_numpy() - 1] = PURCHASE
    kind = kind[:events]
    user, ms, cents, item = (lines[name].to_numpy().astype(np.int64)[:events]
                             for name in ("user", "ms", "cents", "item"))
    return Stream(user, kind, _strictly(ms), cents, item, partitions)


def _strictly(ms: Ints) -> Ints:
    """The same times, moved as little as needed to differ."""
    count = np.arange(len(ms))
    return np.asarray(np.maximum.accumulate(ms - count) + count, np.int64)


def name_of(user: int) -> str:
    return f"u{user:07d}"


def murmur2_8(users: Ints) -> Ints:
    """Kafka's positive murmur2 of the ids' eight bytes, for all users at once."""
    keys = np.frombuffer(b"".join(b"u%07d" % user for user in users.tolist()), "<u4")
    multiplier = np.uint32(0x5BD1E995)
    found = np.full(len(users), 0x9747B28C ^ 8, np.uint32)
    with np.errstate(over="ignore"):
        for word in keys.reshape(-1, 2).T:
            mixed = word * multiplier
            mixed ^= mixed >> np.uint32(24)
            found = found * multiplier ^ mixed * multiplier
        found ^= found >> np.uint32(13)
        found *= multiplier
        found ^= found >> np.uint32(15)
    return (found & np.uint32(0x7FFFFFFF)).astype(np.int64)


_KIND_BYTES = [kind.encode() for kind in KINDS]


def _json(key: bytes, kind: bytes, ms: int, cents: int, item: int) -> bytes:
    return (b'{"user_id":"%b","event_type":"%b","event_ms":%d,"value_cents":%d,'
            b'"item_id":"i%05d","event_id":"e%014d","source":"web","path":"/shop/items/%05d"}'
            % (key, kind, ms, cents, item, ms, item))


# The flat schema of the Avro form, for systems that read it; written bare, as one datum a record.
AVRO_SCHEMA = {"type": "record", "name": "SignalEvent", "fields": [
    {"name": "user_id", "type": "string"}, {"name": "event_type", "type": "string"},
    {"name": "event_ms", "type": "long"}, {"name": "value_cents", "type": "long"},
    {"name": "item_id", "type": "string"}, {"name": "event_id", "type": "string"},
    {"name": "source", "type": "string"}, {"name": "path", "type": "string"}]}


def _avro(key: bytes, kind: bytes, ms: int, cents: int, item: int) -> bytes:
    texts = (b"i%05d" % item, b"e%014d" % ms, b"web", b"/shop/items/%05d" % item)
    return b"".join((_text(key), _text(kind), _long(ms), _long(cents), *map(_text, texts)))


def _text(value: bytes) -> bytes:
    return _long(len(value)) + value


def _long(value: int) -> bytes:
    """Avro's long: zig-zag, seven bits a byte, lowest first."""
    left, out = value << 1 if value >= 0 else ~(value << 1), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)
