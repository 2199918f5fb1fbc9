"""Which topics land in ClickHouse, in which table, under which name analysts see them.

events.raw does not land: it holds e-mail addresses and user ids, which live in the vault only
(what became of each of its records is in events.admitted, refusals.recorded and
events.quarantined). For the same reason the key and the payload of a quarantined record stay in
Kafka; ClickHouse gets the size and the address (topic, partition, offset). So do the rows of
groups, which SQL cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas import CONTRACTS, Contract, contract

# Records between stages on topics of others: watermarks, handovers of visitors, changes of items,
# what new features lack of the past, who asked to be forgotten.
BETWEEN_STAGES: Final = ("watermark", "handover", "item_change", "backfill", "erasure")
NOT_LANDED: Final = frozenset({"events.raw", *BETWEEN_STAGES})
WITHHELD: Final[dict[str, tuple[str, ...]]] = {
    "events.quarantined": ("key", "payload"), "segments.rolled": ("row",)}


@dataclass(frozen=True, slots=True)
class Landing:
    """One topic's landing table.

    view    what analysts call it
    key     sort key of the table; repeats of one emission agree in all of it
    newest  "" when the view shows every record once (the lowest offset of a key wins); otherwise
            the expression by which the newest record of each key is the one that counts
    only    condition that a row must meet to be in the view; empty means none
    """

    topic: str
    view: str
    key: tuple[str, ...]
    newest: str = ""
    only: str = ""

    @property
    def table(self) -> str:
        return "raw_" + self.topic.replace(".", "_")

    @property
    def contract(self) -> Contract:
        return contract(self.topic)

    @property
    def withheld(self) -> tuple[str, ...]:
        return WITHHELD.get(self.topic, ())


_ORIGIN = ("origin_partition", "origin_offset", "origin_sequence")

LANDINGS: Final[tuple[Landing, ...]] = (
    Landing("events.admitted", "events",
            ("tenant", "profile_id", "event_ms", "event_id", *_ORIGIN)),
    Landing("decisions.made", "decisions", ("tenant", "decision_id")),
    Landing("messages.ready", "messages", ("tenant", "decision_id")),
    Landing("deliveries.sent", "deliveries", ("tenant", "delivery_id")),
    # Whoever may report receipts can name a decision that never was: receipts_unknown counts it.
    Landing("receipts.received", "receipts", ("tenant", "receipt_id"),
            only="(tenant, decision_id) IN (SELECT tenant, decision_id FROM raw_decisions_made)"),
    Landing("rewards.observed", "rewards", ("tenant", "reward_id")),
    Landing("refusals.recorded", "refusals", ("tenant", "refusal_id")),
    Landing("events.quarantined", "quarantined", ("quarantine_id",)),
    Landing("costs.incurred", "costs", ("tenant", "cost_id")),
    Landing("segments.changed", "segment_changes", ("tenant", "change_id")),
    # A denial wins a tie, as in the workers' consent book.
    Landing("consents.changed", "consents", ("tenant", "profile_id", "purpose"),
            newest="event_ms DESC, granted ASC, _offset DESC"),
    Landing("segments.rolled", "segment_shares", ("tenant", "segment", "partition", "entity"),
            newest="_offset DESC"),
    Landing("policies.updated", "policy_shares", ("tenant", "playbook", "segment", "partition"),
            newest="recorded_ms DESC, _offset DESC"),
    Landing("playbooks.published", "playbooks", ("tenant", "name"),
            newest="version DESC, _offset DESC"),
    Landing("catalogue.items", "catalogue", ("tenant", "item_id"), newest="_offset DESC"),
)

BY_TOPIC: Final[dict[str, Landing]] = {landing.topic: landing for landing in LANDINGS}

assert set(BY_TOPIC) == set(CONTRACTS) - NOT_LANDED, "a contract without a landing table"
