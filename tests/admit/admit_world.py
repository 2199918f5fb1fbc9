"""What the tests of admit share: a partition with its stage, fed with plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from schemas import contract
from streams.adapters.vault import SqliteVault
from streams.admit.agent import AdmitLogic
from streams.admit.limits import AdmitLimits
from streams.engine.records import Emission, Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel.side_inputs import SideInputs
from streams.privacy.pseudonyms import Pseudonyms

NOW_MS = 1_790_000_000_000
PSEUDONYMS = Pseudonyms(b"k" * 32)
ALL = {"measure": True, "personalise": True, "contact": True, "train": True}


def event(event_id: str, event_type: str = "page_view", **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "event_type": event_type, "event_ms": NOW_MS, "user_id": "u1",
            "consent": ALL, **fields}


def record(offset: int, value: dict[str, Any] | bytes, *, partition: int = 0,
           appended_ms: int = NOW_MS) -> Record:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return Record("events.raw", partition, offset, b"k", raw, appended_ms)


def new_state(partition: int = 0) -> PartitionState:
    return PartitionState(partition, Slab(topics=1, fields=0), Seen(), Watermarks(1), Timers())


def read(emission: Emission) -> tuple[str, dict[str, Any]]:
    """(contract, fields) of an emission."""
    assert emission.value is not None
    for name in ("watermark", "handover", "item_change", "erasure"):
        if contract(name).is_mine(emission.value):
            return name, contract(name).decode(emission.value)
    return emission.topic, contract(emission.topic).decode(emission.value)


def outcomes(emissions: Iterable[Emission]) -> dict[int, str]:
    """Offset -> what became of the record. Fails when a record has two outcomes.

    That a record was clamped is told besides, and no outcome.
    """
    found: dict[int, str] = {}
    for emission in emissions:
        kind, fields = read(emission)
        if kind == "events.admitted":
            where, what = fields["origin_offset"], "admitted"
        elif kind == "refusals.recorded" and fields["outcome"] == "clamped":
            continue
        elif kind == "refusals.recorded":
            where, what = fields["offset"], f"{fields['outcome']}:{fields['reason']}"
        elif kind == "events.quarantined":
            where, what = fields["offset"], f"quarantined:{fields['reason']}"
        else:
            continue
        assert where not in found, f"offset {where} ended as {found[where]} and as {what}"
        found[where] = what
    return found


class World:
    """One partition of events.raw with a real vault."""

    def __init__(self, folder: Path, *, limits: AdmitLimits | None = None,
                 partitions: int = 4) -> None:
        self.side = SideInputs()
        self.vault = SqliteVault(folder / "vault" / "vault.db", b"v" * 32)
        self.logic = AdmitLogic(self.side, PSEUDONYMS, self.vault, partitions=partitions,
                                limits=limits)
        self.state = new_state()
        self.offset = 0

    def send(self, *values: dict[str, Any] | bytes, appended_ms: int = NOW_MS) -> list[Emission]:
        """Walk `values` as one batch."""
        batch = [record(self.offset + at, value, appended_ms=appended_ms)
                 for at, value in enumerate(values)]
        self.offset += len(batch)
        out = Out("admit", NOW_MS)
        self.logic.walk(self.state, batch, out)
        return out.emissions

    def words(self, *values: dict[str, Any] | bytes, appended_ms: int = NOW_MS) -> list[str]:
        """What became of each of `values`, in order."""
        return list(outcomes(self.send(*values, appended_ms=appended_ms)).values())

    def of(self, kind: str, *values: dict[str, Any] | bytes) -> list[dict[str, Any]]:
        """The emissions of one contract that `values` cause."""
        return [fields for name, fields in map(read, self.send(*values)) if name == kind]

    def idle(self, now_ms: int) -> list[dict[str, Any]]:
        out = Out("admit", now_ms)
        self.logic.idle(self.state, out, idle_ms=5000)
        return [fields for _, fields in map(read, out.emissions)]


def person(user_id: str, tenant: str = "default") -> str:
    return PSEUDONYMS.known(tenant, user_id)
