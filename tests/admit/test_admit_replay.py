"""The crash law: killed at any point, admit ends with what an undisturbed run emits."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest
from admit_world import NOW_MS, PSEUDONYMS, new_state, outcomes, read, record

from streams.adapters.vault import SqliteVault
from streams.admit.agent import AdmitLogic
from streams.admit.limits import AdmitLimits
from streams.engine.records import Emission, Out, Record
from streams.kernel.moments import MINUTE_MS
from streams.kernel.side_inputs import SideInputs

LIMITS = AdmitLimits(dedup_ms=5 * MINUTE_MS, late_ms=60 * MINUTE_MS)
SEEDS = range(150)


def a_log(dice: random.Random) -> list[tuple[dict[str, Any], int]]:
    """A few people who agree, withdraw, repeat themselves, log in and share a device."""
    return [(_event(dice), dice.choice([0, 0, 0, 1, 4])) for _ in range(dice.randint(5, 40))]


def _event(dice: random.Random) -> dict[str, Any]:
    purposes = dice.sample(["measure", "personalise", "contact"], dice.randint(1, 3))
    kind = dice.choice(["page_view"] * 5 + ["alias", "identify", "identify", "consent",
                                            "message_unsubscribed", "clock"])
    return {
        "event_id": str(dice.randrange(30)), "event_type": kind,
        "event_ms": NOW_MS - dice.choice([0, 1, 2, 40, 90]) * MINUTE_MS,
        "user_id": dice.choice(["u1", "u1", "u2", None]),
        "anonymous_id": dice.choice(["v1", "v1", "v2", None]),
        "tenant": "sim" if kind == "clock" else dice.choice(["default"] * 6 + ["sim"]),
        "consent": {name: dice.random() < 0.7 for name in purposes}
        if kind == "consent" or dice.random() < 0.4 else None,
        "decision_id": "d", "channel": "email",
        "traits": {"email": f"{dice.random()}@b.c", "country": dice.choice("DEF") * 2}
        if kind == "identify" else None}


def some_steps(dice: random.Random) -> list[tuple[str, int]]:
    """Batches of one to eight records, checkpoints, and deaths within a checkpoint."""
    whats = dice.choices(["take", "checkpoint", "crash"], [6, 2, 2], k=dice.randint(3, 20))
    return [(what, dice.randint(1, 8) if what == "take" else dice.randint(0, 6))
            for what in whats]


def records_of(log: Iterable[tuple[dict[str, Any], int]]) -> list[Record]:
    """Broker time goes on by 0 to 4 minutes from record to record."""
    appended_ms, batch = NOW_MS, []
    for offset, (fields, minutes) in enumerate(log):
        appended_ms += minutes * MINUTE_MS
        batch.append(record(offset, orjson.dumps(fields), appended_ms=appended_ms))
    return batch


class Durable:
    """What outlives a crash: rows, notes as of the commit, the committed offset."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.notes = b"{}"
        self.committed = 0


class Worker:
    """One life of a worker, between two crashes."""

    def __init__(self, durable: Durable, side: SideInputs, vault: SqliteVault) -> None:
        self.durable, self.side = durable, side
        self.logic = AdmitLogic(side, PSEUDONYMS, vault, partitions=2, limits=LIMITS)
        self.state = new_state()
        for key, value in durable.rows.items():
            self.state.slab.apply(key, value)
        self.state.notes = orjson.loads(durable.notes)
        self.position = durable.committed
        self.logic.recovered(self.state)

    def take(self, batch: list[Record]) -> list[Emission]:
        out = Out("admit", NOW_MS)
        self.logic.walk(self.state, batch, out)
        self.position += len(batch)
        for emission in out.emissions:
            if emission.topic == "consents.changed":
                self.side.take("consents.changed", read(emission)[1])
        return out.emissions

    def flush(self, rows_count: int | None = None) -> None:
        """Write dirty rows in order; all of them and the mark, or the first few and die."""
        for key in self.state.slab.take_dirty()[:rows_count]:
            value = self.state.slab.encode(key)
            if value is None:
                self.durable.rows.pop(key, None)
            else:
                self.durable.rows[key] = value
        if rows_count is None:
            self.durable.notes = orjson.dumps(self.state.notes)
            self.durable.committed = self.position


def plain(emissions: Iterable[Emission]) -> set[tuple[str, bytes, bytes | None, int | None]]:
    """Emissions as a set; watermarks depend on how the log is cut into batches."""
    return {(e.topic, e.key, e.value, e.partition) for e in emissions
            if read(e)[0] != "watermark"}


def run(log: list[Record], steps: Iterable[tuple[str, int]], folder: Path) -> tuple[
        list[Emission], SqliteVault]:
    """Take the log in the cuts and with the crashes that `steps` say, then to its end."""
    vault = SqliteVault(folder / "vault.db", b"v" * 32)
    durable, side = Durable(), SideInputs()
    worker, emissions = Worker(durable, side, vault), []
    for what, count in [*steps, ("take", len(log))]:
        if what == "take":
            emissions += worker.take(log[worker.position:worker.position + count])
        elif what == "checkpoint":
            worker.flush()
        else:
            worker.flush(count)
            worker = Worker(durable, side, vault)
    return emissions, vault


@pytest.mark.parametrize("seed", SEEDS)
def test_crashes_anywhere_change_nothing(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    records, steps = records_of(a_log(dice)), some_steps(dice)
    calm, _ = run(records, [], tmp_path / "calm")
    rough, _ = run(records, steps, tmp_path / "rough")
    assert sorted(outcomes(calm)) == list(range(len(records))), f"{seed=}"
    assert plain(rough) == plain(calm), f"{seed=} {steps=}"


@pytest.mark.parametrize("seed", SEEDS)
def test_how_the_log_is_cut_into_batches_changes_nothing(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    records = records_of(a_log(dice))
    whole, first = run(records, [], tmp_path / "whole")
    cut, second = run(records, [("take", dice.randint(1, 5)) for _ in range(15)],
                      tmp_path / "cut")
    assert plain(cut) == plain(whole), f"{seed=}"
    for user in ("u1", "u2"):
        whose = PSEUDONYMS.known("default", user)
        assert first.get(whose, "email") == second.get(whose, "email"), f"{seed=}"


def test_the_logs_hold_every_outcome_often() -> None:
    """A law proves nothing over logs in which nothing happens."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            log = records_of(a_log(random.Random(seed)))
            counts.update(outcomes(run(log, [], Path(folder) / str(seed))[0]).values())
    for outcome in ("admitted", "duplicate:duplicate", "refused:no_consent", "control:clock",
                    "refused:too_late", "refused:no_subject", "quarantined:missing_field"):
        assert counts[outcome] >= 20, counts
