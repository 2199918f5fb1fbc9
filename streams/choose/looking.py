"""Looking: people look at what has changed of the items that they care for, once its moment is over
(`item_changes`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streams.choose import item_changes, triggers
from streams.choose.deciding import Voice
from streams.choose.tables import Tables
from streams.playbooks.model import Playbook


@dataclass(frozen=True, slots=True)
class Looking:
    """Of one tenant's people. `notes`: of the partition; `playbooks`: those in force."""

    tables: Tables
    voice: Voice
    notes: dict[str, Any]
    tenant: str
    playbooks: Sequence[Playbook]

    def at_passed(self, now_ms: int, offset: int, appended_ms: int) -> None:
        """Let everybody look at what has changed by `now_ms`, of the watermark at `offset`."""
        people = self.tables.people
        for change in item_changes.take_passed(self.notes, self.tenant, now_ms):
            for key in sorted(self.tables.cared_for.get(change.item_id, ())):
                slot = people.find(key)
                if (slot is None or self.tables.tenant_of(slot) != self.tenant
                        or not self.tables.is_news(slot, offset)):
                    continue
                kept = people.tails.get(slot, {}).get("w", {})
                self.voice.decide(slot, self.tenant, key.decode(), triggers.on_item(
                    self.playbooks, kept, change, appended_ms))
                self.tables.woken(slot, offset)

    def at_missed(self, person: str, since_ms: int | None, appended_ms: int) -> None:
        """Let a person look at what changed while what came of the visitor was on its way."""
        slot = self.tables.people.slot(person.encode())
        kept = self.tables.people.tail(slot).get("w", {})
        found, missed_ms = item_changes.since(self.notes, self.tenant, since_ms)
        self.voice.decide_all(slot, self.tenant, person, [
            moment for change in found
            for moment in triggers.on_item(self.playbooks, kept, change, appended_ms)])
        if missed_ms is not None:
            self.voice.tell_lost(slot, self.tenant, missed_ms, triggers.who_missed(kept))
