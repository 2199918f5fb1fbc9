"""Parts for tests of compose: a playbook, an item, decisions, and a partition to walk in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas import contract
from streams.compose.agent import ComposeLogic
from streams.compose.calls import ComposeParams
from streams.compose.generation import ModelPort
from streams.cost import price_book
from streams.cost.ledger import Budget
from streams.engine.records import Emission, Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel.moments import DAY_MS, parse_moment
from streams.kernel.side_inputs import SideInputs

NOW_MS = parse_moment("2026-11-22T12:00:00")
TENANT = "shop"
PERSON = "0123456789abcdef0123456789abcdef"
YAML = """playbook: cart
trigger: {absence: {after: cart_add, without: purchase, within: 30m, per: cart_id}}
purpose: contact
brief: Remind the person of what they left in the cart.
facts: [item.title, item.price, item.url, item.low_stock]
variants:
  reminder: {strategy: reminder}
  ours:
    strategy: helpful
    subject: "About {item.title}"
    body: |
      Hello {first_name},

      if you have a question about {item.title}, just answer this message.

      {item.url}

      {shop}
  broken:
    strategy: helpful
    subject: "Hurry, {first_name}"
    body: "Only a few of {item.title} are left, so do not wait.\\n\\n{item.url}\\n\\n{shop}"
expires: 24h
conversion: {event: purchase, within: 3d}
value: 8.00
banned: [mug shot]
shop: Ada's
"""


def side(yaml: str = YAML, **item: Any) -> SideInputs:
    found = SideInputs()
    found.take("playbooks.published", {
        "tenant": TENANT, "name": "cart", "version": 3, "yaml": yaml, "checksum": str(hash(yaml)),
        "active": True, "published_ms": NOW_MS})
    found.take("catalogue.items", {
        "tenant": TENANT, "item_id": "mug", "title": "Blue mug", "category": "kitchen",
        "price_micros": 4_250_000, "currency": "GBP", "url": "https://shop.example/p/mug?x=1",
        "in_stock": True, "attributes_json": "", "as_of_ms": NOW_MS - DAY_MS, **item})
    return found


def decision(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "decision_id": f"d{number:031d}", "tenant": TENANT, "profile_id": PERSON,
        "playbook": "cart", "playbook_version": 3, "trigger": "absence", "trigger_event_id": "e-1",
        "object_id": "cart-77", "moment_ms": NOW_MS - 1000, "useful_until_ms": NOW_MS + DAY_MS,
        "window_ms": 3 * DAY_MS, "conversion": "purchase", "value_micros": 8_000_000,
        "holdout": False, "arm": "reminder", "propensity": 0.5,
        "propensities_json": '{"reminder":1.0}', "holdout_probability": 0.1,
        "policy_version": "0", "segment": "active", "segments_json": '["active"]',
        "features_json": '{"cart_adds_24h":{"value":3,"age_ms":10},'
                         '"spend_30d":{"value":120.55,"age_ms":10}}',
        "evidence_json": "{}", "item_ids_json": '["mug"]', "purposes": 7, "channel": "email",
        "locale": "en", "trigger_appended_ms": NOW_MS - 900, "decided_ms": NOW_MS - 500,
        "origin_partition": 0, "origin_offset": number, "origin_sequence": 0, **changes}


def record_of(fields: dict[str, Any], offset: int) -> Record:
    return Record("decisions.made", 0, offset, fields["profile_id"].encode(),
                  contract("decisions.made").encode(fields), NOW_MS)


def records(decisions: Sequence[dict[str, Any]]) -> list[Record]:
    return [record_of(fields, offset) for offset, fields in enumerate(decisions)]


def partition() -> PartitionState:
    return PartitionState(0, Slab(topics=1, fields=0), Seen(), Watermarks(1), Timers())


def logic(side_inputs: SideInputs | None = None, writer: ModelPort | None = None,
          budget_usd_micros: int = 5_000_000, **params: Any) -> ComposeLogic:
    return ComposeLogic(side_inputs or side(), Budget(budget_usd_micros), price_book.load(), writer,
                        ComposeParams(**params))


async def walk(stage: ComposeLogic, batch: Sequence[Record], state: PartitionState | None = None,
               now_ms: int = NOW_MS) -> list[Emission]:
    out = Out("compose", now_ms)
    await stage.walk(state or partition(), batch, out)
    return out.emissions


def of_topic(emissions: Sequence[Emission], topic: str) -> list[dict[str, Any]]:
    return [contract(topic).decode(emission.value) for emission in emissions
            if emission.topic == topic]
