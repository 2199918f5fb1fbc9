"""A small made-up road, as it would have landed: two worlds, one with an effect of 0.10.

A third one, small, is in shadow mode.
"""

from __future__ import annotations

import json
import random
import time
from collections import defaultdict
from typing import Any, Protocol

START_MS = 1_760_000_000_000
LANDED_MS = int(time.time() * 1000) - 60_000     # landing tables let go of what is old
DAY_MS = 86_400_000
LIFT = 0.10
SHADOW = "quiet"                                 # its playbooks are in shadow mode
PLAYBOOKS = ("abandoned_cart", "repeat_due")


class Client(Protocol):
    def raw_insert(self, table: str, *, insert_block: bytes, fmt: str) -> Any: ...


class Sample:
    """Rows by landing table. `seed` throws the dice."""

    def __init__(self, seed: int, people: int = 1200) -> None:
        self.dice = random.Random(seed)
        self.tables: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.raw_count = 0
        for world, effect in (("retail", 0.0), ("storefront", LIFT)):
            for number in range(people):
                self.person(world, f"{world[0]}{number:031x}", effect)
        for number in range(80):
            self.person(SHADOW, f"q{number:031x}", 0.0)
        self.bad_input()

    def fill(self, client: Client) -> None:
        for table, rows in self.tables.items():
            lines = b"\n".join(json.dumps(row).encode() for row in rows)
            client.raw_insert(table, insert_block=lines, fmt="JSONEachRow")

    def add(self, table: str, **row: Any) -> dict[str, Any]:
        rows = self.tables[table]
        rows.append({**row, "_topic_id": "t", "_partition": 0, "_offset": len(rows),
                     "_appended_ms": LANDED_MS + self.raw_count})
        return rows[-1]

    def person(self, world: str, profile: str, effect: float) -> None:
        dice, held_out = self.dice, self.dice.random() < 0.3
        for event_type in ("product_view", "cart_add"):
            self.event(world, profile, event_type, START_MS + dice.randrange(20 * DAY_MS))
        self.add("raw_segments_changed", change_id=f"c{profile}", tenant=world,
                 profile_id=profile, segment="browsers", entered=True, event_ms=START_MS,
                 cause="event", origin_partition=0, origin_offset=0, origin_sequence=0)
        for playbook in PLAYBOOKS:
            if dice.random() < 0.6:
                self.decision(world, profile, playbook, held_out, effect)

    def event(self, world: str, profile: str, event_type: str, event_ms: int,
              value_micros: int = 0) -> str:
        event_id = f"e{self.raw_count}"
        self.add("raw_events_admitted", event_id=event_id, tenant=world, source="app",
                 event_type=event_type, event_ms=event_ms, appended_ms=START_MS + self.raw_count,
                 profile_id=profile, item_id="i1", value_micros=value_micros, purposes=15,
                 order_id=f"o{self.raw_count}" if event_type == "purchase" else "",
                 origin_partition=0, origin_offset=self.raw_count, origin_sequence=0)
        self.raw_count += 1
        return event_id

    def decision(self, world: str, profile: str, playbook: str, held_out: bool,
                 effect: float) -> None:
        dice, decision_id = self.dice, f"d{len(self.tables['raw_decisions_made']):031x}"
        moment_ms = START_MS + dice.randrange(20 * DAY_MS)
        arm = dice.choice(["plain", "warm"])
        self.add("raw_decisions_made", decision_id=decision_id, tenant=world, profile_id=profile,
                 playbook=playbook, playbook_version=1,
                 trigger="absence" if playbook == PLAYBOOKS[0] else "recency",
                 trigger_event_id="e0", moment_ms=moment_ms, window_ms=DAY_MS,
                 useful_until_ms=moment_ms + DAY_MS, conversion="purchase", holdout=held_out,
                 arm=arm, propensity=0.5, propensities_json='{"plain":0.5,"warm":0.5}',
                 holdout_probability=0.3, policy_version="v0", segment="*",
                 segments_json='["browsers"]', evidence_json='[{"event":"cart_add"}]',
                 features_json='{"views_7d":{"value":3.0,"age_ms":600000},'
                               '"spend_90d":{"value":null,"age_ms":null}}',
                 item_ids_json='["i1"]', purposes=15, channel="email",
                 trigger_appended_ms=START_MS, decided_ms=START_MS + 4)
        if not held_out:
            self.message(world, profile, playbook, decision_id, arm, moment_ms)
        converted = dice.random() < 0.2 + effect * (not held_out)
        self.outcome(world, profile, playbook, decision_id, arm, held_out, moment_ms, converted)

    def message(self, world: str, profile: str, playbook: str, decision_id: str, arm: str,
                moment_ms: int) -> None:
        dice = self.dice
        rung = dice.choice(["grammar", "grammar", "small", "template"])
        took_ms = round(dice.lognormvariate(3.4, 0.6))
        brief_json, facts_json = self.figures(len(self.tables["raw_messages_ready"]), moment_ms)
        common = {"decision_id": decision_id, "tenant": world, "playbook": playbook, "rung": rung}
        self.add("raw_messages_ready", **common, profile_id=profile, playbook_version=1,
                 channel="email", arm=arm, subject="Still thinking it over, {first_name}?",
                 body="Your oak shelf is in stock at 49.00.\n\n{unsubscribe_url}",
                 link="https://shop.example/i1", facts_json=facts_json,
                 brief_json=brief_json, prompt_hash="ab12",
                 model="grammar-1", cost_usd_micros=120 if rung == "small" else 0,
                 gates_json=json.dumps(self.attempts(rung)),
                 moment_ms=moment_ms, useful_until_ms=moment_ms + DAY_MS, purposes=15,
                 trigger_appended_ms=START_MS, ready_ms=START_MS + took_ms)
        if rung == "small":
            self.add("raw_costs_incurred", **common, cost_id="c" + decision_id, model="small-1",
                     tokens_in=300, tokens_out=60, cost_usd_micros=120, price_book="2026-11",
                     result="ok", took_ms=400, recorded_ms=START_MS)
        outcome = {"status": "skipped", "reason": "shadow"} if world == SHADOW else {
            "status": "sent", "attempts": 1}
        self.add("raw_deliveries_sent", **common, delivery_id="v" + decision_id,
                 profile_id=profile, channel="email", arm=arm, **outcome,
                 moment_ms=moment_ms, sent_ms=moment_ms + 60_000, dispatched_ms=START_MS)
        if world == SHADOW:
            return
        for kind, chance in (("delivered", 1.0), ("opened", 0.4), ("clicked", 0.1)):
            if dice.random() < chance:
                self.add("raw_receipts_received", receipt_id=kind + decision_id,
                         decision_id=decision_id, tenant=world, profile_id=profile,
                         channel="email", kind=kind, event_ms=moment_ms + 120_000,
                         recorded_ms=START_MS, machine=dice.random() < 0.1)

    @staticmethod
    def figures(number: int, moment_ms: int) -> tuple[str, str]:
        """Brief and facts: a third of the messages could state a count, two of three of them did;
        every other of these had a claim to choose as well."""
        brief: dict[str, Any] = {"signals": {"views": "several"}, "claims": []}
        facts: dict[str, Any] = {"shop": {"value": "the shop", "as_of": moment_ms}}
        if number % 3 == 0:
            brief["figures"] = {"item_views_7d": "It was looked at {item_views_7d} times."}
            brief["claims"] = ["item.new"] * (number % 2)
            if number % 9:
                facts["item_views_7d"] = {"value": str(50 + number % 40),
                                          "as_of": moment_ms - 3_600_000 * (1 + number % 5)}
        return json.dumps(brief), json.dumps(facts)

    def attempts(self, rung: str) -> list[dict[str, Any]]:
        passed = {"rung": rung, "gates": {"length": "ok", "claims": "ok"}}
        if self.dice.random() < 0.05:
            return [{"rung": "small", "gates": {"length": "ok", "claims": "urgency, unlicensed"}},
                    passed]
        return [passed]

    def outcome(self, world: str, profile: str, playbook: str, decision_id: str, arm: str,
                held_out: bool, moment_ms: int, converted: bool) -> None:
        event_ms = moment_ms + 3_600_000
        kinds = [("closed", "", 0, moment_ms + DAY_MS)]
        if converted:
            event_id = self.event(world, profile, "purchase", event_ms, 49_000_000)
            kinds.append(("converted", event_id, 49_000_000, event_ms))
        for kind, event_id, value_micros, when_ms in kinds:
            self.add("raw_rewards_observed", reward_id=f"{kind[0]}{decision_id}{event_id}",
                     decision_id=decision_id, tenant=world, profile_id=profile,
                     playbook=playbook, arm=arm, holdout=held_out, segment="*", propensity=0.5,
                     kind=kind, event_id=event_id, value_micros=value_micros,
                     moment_ms=moment_ms, event_ms=when_ms, purposes=15)

    def bad_input(self) -> None:
        """7 refused, 5 duplicates (2 of them found by choose), 3 quarantined, 4 clock records, 2
        receipts of a decision that never was, and an admitted event from the future."""
        for receipt_id in ("nobody1", "nobody2"):
            self.add("raw_receipts_received", receipt_id=receipt_id, decision_id="never",
                     tenant="storefront", profile_id=f"s{0:031x}", channel="email", kind="clicked",
                     event_ms=START_MS, recorded_ms=START_MS)
        for reason, outcome, count in (("no_consent", "refused", 7), ("duplicate", "duplicate", 3),
                                       ("clock", "control", 4)):
            for _ in range(count):
                self.refusal("admit", outcome, reason, "events.raw")
        self.refusal("admit", "clamped", "from_the_future", "events.raw")
        for _ in range(2):
            self.refusal("choose", "duplicate", "duplicate", "events.admitted")
        self.refusal("choose", "skipped", "cooling_down", "events.admitted")
        for number in range(3):
            self.add("raw_events_quarantined", quarantine_id=f"q{number}", stage="admit",
                     reason="not_json", field="", detail="the bytes are not JSON",
                     topic="events.raw", partition=0, offset=self.raw_count,
                     appended_ms=START_MS, recorded_ms=START_MS)
            self.raw_count += 1
        for segment, members in (("browsers", 840), ("vip", 7)):
            self.add("raw_segments_rolled", tenant="retail", segment=segment, partition=0,
                     members=members, sums_json="{}", event_ms=START_MS, recorded_ms=START_MS)
        self.add("raw_policies_updated", tenant="storefront", playbook=PLAYBOOKS[0], segment="*",
                 partition=0, version="p0-1", updated_ms=START_MS, recorded_ms=START_MS,
                 arms_json='{"plain":{"trials":50,"successes":9,"value_micros":9},'
                           '"warm":{"trials":48,"successes":14,"value_micros":9}}')
        for purpose in ("measure", "contact"):
            self.add("raw_consents_changed", tenant="storefront", profile_id=f"s{0:031x}",
                     purpose=purpose, granted=True, event_ms=START_MS, origin="event",
                     evidence="e0", recorded_ms=START_MS)

    def refusal(self, stage: str, outcome: str, reason: str, topic: str) -> None:
        number = len(self.tables["raw_refusals_recorded"])
        is_record = topic == "events.raw" and outcome != "clamped"
        offset = self.raw_count if is_record else number
        self.raw_count += is_record
        self.add("raw_refusals_recorded", refusal_id=f"r{number}", stage=stage, outcome=outcome,
                 reason=reason, tenant="storefront", topic=topic, partition=0, offset=offset,
                 playbook="abandoned_cart" if outcome == "skipped" else "",
                 profile_id=f"s{0:031x}" if outcome == "skipped" else "",
                 event_ms=START_MS, recorded_ms=START_MS)
