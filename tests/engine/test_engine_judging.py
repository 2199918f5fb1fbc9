"""A changelog is read many entries at a time: what comes of it is what comes of one after the
other, wherever it is cut. The twin here knows only dicts and takes entry after entry."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from streams.engine import versions
from streams.engine.judging import RESET
from streams.engine.versions import Entry, Lineage, Versions, full, split, stamp_of
from streams.kernel.errors import StateError

LINEAGE = Lineage(((2, 5), (3, 9), (5, 12), (6, 12)))
SEEDS = range(60)


class Twin:
    """What counts of a log, and what is to be cleared of it."""

    def __init__(self, lineage: Lineage) -> None:
        self.lineage, self.ends = lineage, dict(lineage.ends)
        self.tags: dict[bytes, int] = {}
        self.rows: dict[bytes, bytes] = {}
        self.dropped: set[bytes] = set()
        self.spent: set[bytes] = set()
        self.void: set[bytes] = set()

    def take(self, stored: bytes, value: bytes | None) -> None:
        tag, key = split(stored)
        counts = value is None or int.from_bytes(value[:8], "little") <= self.ends.get(
            tag >> 1, -1)
        if not counts:
            if tag >> 1 < self.lineage.epoch:
                self.void.add(stored)
            return
        self.void.discard(stored)
        self.spent.discard(stored)
        old = self.tags.get(key)
        if value is None:
            if old == tag:
                del self.tags[key]
                self.dropped.discard(key)
                self.rows.pop(key, None)
            return
        if old is not None and old >> 1 != tag >> 1:
            self.spent |= {full(old & ~1, key), full(old | 1, key)}
        self.tags[key] = tag
        self.rows.pop(key, None)
        self.dropped.discard(key)
        if value[8:]:
            self.rows[key] = value[8:]
        else:
            self.dropped.add(key)

    def end(self) -> None:
        self.spent |= {stored for stored in self.void
                       if self.tags.get(split(stored)[1], 0) >> 1 != split(stored)[0] >> 1}
        self.spent |= {full(self.tags[key] ^ 1, key) for key in self.dropped}


def drawn(dice: random.Random, *, calm: bool) -> list[Entry]:
    """Owners one after the other, zombies among them; `calm`: mostly one owner's rows."""
    keys = [b"k%d" % n for n in range(12)] + [b"%032x" % n for n in range(6)] + [b"a" * 40]
    log: list[Entry] = []
    for _ in range(dice.randrange(1, 400)):
        epoch = 3 if calm and dice.random() < 0.98 else dice.randrange(1, 8)
        number = dice.randrange(1, 10 if calm else 15)
        body = dice.choice([b"row-%d" % len(log)] * (60 if calm else 6) + [b""])
        is_clear = dice.random() < (0.01 if calm else 0.2)
        log.append((full(2 * epoch + dice.randrange(2), dice.choice(keys)),
                    None if is_clear else stamp_of(number) + body))
    return log


def taken(own: Versions, log: Iterable[Entry]) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    for key, value in own.read(log):
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows


@pytest.mark.parametrize("at_once", [1, 2, 7, 64, 4096])
@pytest.mark.parametrize("calm", [False, True])
def test_a_log_is_read_like_one_entry_after_the_other(
        monkeypatch: pytest.MonkeyPatch, at_once: int, calm: bool) -> None:
    monkeypatch.setattr(versions, "_READ_AT_ONCE", at_once)
    for seed in SEEDS:
        dice = random.Random(seed)
        own, twin = Versions(LINEAGE), Twin(LINEAGE)
        rows: dict[bytes, bytes] = {}
        for _ in range(2):          # and goes on from what it has
            log = drawn(dice, calm=calm)
            for entry in log:
                twin.take(*entry)
            twin.end()
            for key, value in own.read(log):
                rows.pop(key, None)
                if value is not None:
                    rows[key] = value
            twin.void.clear()
            assert rows == twin.rows
            assert set(own.spent) == twin.spent
            assert {(key, tag, key in twin.dropped) for key, tag in twin.tags.items()} == set(
                own.standing())
            assert +own._held == Counter(tag >> 1 for tag in twin.tags.values())


@pytest.mark.parametrize("at_once", [1, 4096])
@pytest.mark.parametrize(("entry", "words"), [
    ((b"profile-1", stamp_of(1) + b"row"), "an older build"),
    ((b"\x01\x00", stamp_of(1) + b"row"), "an older build"),
    ((full(4, b"a"), b"1234567"), "without the number")])
def test_one_entry_among_many_that_is_not_ours_is_refused_with_a_remedy(
        monkeypatch: pytest.MonkeyPatch, at_once: int, entry: Entry, words: str) -> None:
    monkeypatch.setattr(versions, "_READ_AT_ONCE", at_once)
    ours = [(full(4, b"k%d" % n), stamp_of(1) + b"row") for n in range(20)]
    with pytest.raises(StateError, match=words) as caught:
        taken(Versions(LINEAGE), [*ours, entry, *ours])
    assert caught.value.remedy == RESET
