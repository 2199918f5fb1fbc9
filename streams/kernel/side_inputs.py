"""Side inputs: low-rate compacted topics that every worker holds in full.

Read to their end before a worker takes its first batch, and followed from then on. Keys are those
of the topics; the newest record of a key wins, but for consent, where event time decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.kernel import purposes


class ConsentBook:
    """The newest word of each person on each purpose, by event time; a denial wins a tie."""

    def __init__(self) -> None:
        self._words: dict[str, dict[int, tuple[int, bool, str]]] = {}

    def take(self, change: Mapping[str, Any]) -> bool:
        """Apply one consents.changed record; True when it changed anything."""
        bit = purposes.BITS.get(change["purpose"])
        if bit is None:
            return False
        words = self._words.get(change["profile_id"], {})
        now = (change["event_ms"], not change["granted"])
        standing = words.get(bit)
        if standing is not None and (standing[0], not standing[1]) >= now:
            return False
        word = (change["event_ms"], change["granted"], change.get("evidence", ""))
        self._words[change["profile_id"]] = {**words, bit: word}
        return True

    def words(self, profile_id: str) -> Mapping[int, tuple[int, bool, str]]:
        """Purpose bit -> (event_ms, granted, evidence) of each word; empty for strangers."""
        return self._words.get(profile_id, {})

    def mask(self, profile_id: str) -> int:
        """Purposes granted; 0 for people never heard of (default deny)."""
        words = self._words.get(profile_id)
        if not words:
            return 0
        return sum(bit for bit, (_, granted, _) in words.items() if granted)

    def denied(self, profile_id: str) -> int:
        """Purposes explicitly denied or withdrawn: these overrule what an event carries."""
        words = self._words.get(profile_id)
        if not words:
            return 0
        return sum(bit for bit, (_, granted, _) in words.items() if not granted)

    def __len__(self) -> int:
        return len(self._words)


Group = tuple[str, str, str]        # tenant, entity, name
SEGMENT = "segment"                 # the entity of segments and of everybody


@dataclass(slots=True)
class SideInputs:
    """What a worker holds of the control topics.

    Written by the thread that follows the topics while stages read on theirs: whatever is gone
    through as a whole (words, playbooks, shares) is replaced by a changed copy, never changed.

    tenants    tenant -> wall clock of the first word on consent that this worker met of its people.
               Nobody's events are used without such a word: no tenant with people is missing
    categories (tenant, category) of every item that the catalogue has, or had
    policies   each partition of learn publishes its own share of the counts; shares add up
    rolls      likewise for the rows of groups (segments, everybody, items), as they last came
    overtaken  shares that a partition's earlier owner said after a later one; the later one says
               its own again
    version    counts changes of playbooks, so that compiled ones can be cached
    """

    consents: ConsentBook = field(default_factory=ConsentBook)
    tenants: dict[str, int] = field(default_factory=dict)
    playbooks: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    catalogue: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    categories: set[tuple[str, str]] = field(default_factory=set)
    policies: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = field(default_factory=dict)
    rolls: dict[Group, dict[int, dict[str, Any]]] = field(default_factory=dict)
    overtaken: set[tuple[Group, int]] = field(default_factory=set)
    version: int = 0
    _members: dict[Group, int] = field(default_factory=dict)

    def members(self, tenant: str, name: str, entity: str = SEGMENT) -> int:
        """How many people are in a group by the newest word of every partition of choose; 0 when
        none has said anything yet."""
        return self._members.get((tenant, entity, name), 0)

    def take(self, topic: str, record: Mapping[str, Any]) -> None:
        """Apply one decoded record of a control topic."""
        if topic == "consents.changed":
            self.consents.take(record)
            tenant, recorded_ms = record["tenant"], record["recorded_ms"]
            if recorded_ms < self.tenants.get(tenant, recorded_ms + 1):
                self.tenants = {**self.tenants, tenant: recorded_ms}
        elif topic == "playbooks.published":
            key = (record["tenant"], record["name"])
            standing = self.playbooks.get(key)
            if standing is None or record["version"] >= standing["version"]:
                self.playbooks = {**self.playbooks, key: dict(record)}
                self.version += 1
        elif topic == "catalogue.items":
            self.catalogue[record["tenant"], record["item_id"]] = dict(record)
            self.categories.add((record["tenant"], record.get("category", "")))
        elif topic == "policies.updated":
            cell = (record["tenant"], record["playbook"], record["segment"])
            self.policies[cell] = {**self.policies.get(cell, {}),
                                   record["partition"]: dict(record)}
        elif topic == "segments.rolled":
            self._take_share(record)

    def _take_share(self, record: Mapping[str, Any]) -> None:
        group = (record["tenant"], record.get("entity", SEGMENT), record["segment"])
        partition, shares = record["partition"], self.rolls.get(group, {})
        standing = shares.get(partition, {"members": 0})
        if record.get("epoch", 0) < standing.get("epoch", 0):
            self.overtaken.add((group, partition))
        self._members[group] = self._members.get(group, 0) + record["members"] - standing["members"]
        if group[1] == SEGMENT or record["row"]:
            self.rolls[group] = {**shares, partition: dict(record)}
            return
        # Things come and go: of those that nobody speaks of nothing is kept.
        left = {where: share for where, share in shares.items() if where != partition}
        if left:
            self.rolls[group] = left
        else:
            self.rolls.pop(group, None)
            self._members.pop(group, None)
