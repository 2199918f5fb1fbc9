"""Shops whose events name things, and a twin that counts them anew from everything heard."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import orjson
from feature_twin import Heard, obvious

from schemas import contract
from streams.choose.agent import ChooseLogic
from streams.choose.entities.asking import Things
from streams.choose.entities.spec import EntitySpec
from streams.choose.features.spec import FeatureSpec
from streams.choose.program import Program
from streams.choose.tables import Tables, tables_of
from streams.engine import checkpoints, framed
from streams.engine.records import Out, Record
from streams.engine.stage import PartitionState
from streams.kernel.ids import partition_of
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook, Trigger, Variant

START = 1_600_000_000_000
KIND, ROLLED = contract("events.admitted"), contract("segments.rolled")
PERSON = (FeatureSpec("orders", "purchase", "lifetime"),)
ASKS = Playbook(name="asks", trigger=Trigger("event", "product_view"), brief="b",
                variants=(Variant("a", "reminder"),), conversion="purchase", window_ms=DAY_MS,
                expires_ms=DAY_MS, cooldown_ms=0, tenant="t", version=1, cap_messages=10**6)


def of(entity: str, **more: Any) -> tuple[FeatureSpec, ...]:
    short = entity.split(".")[-1]
    return (FeatureSpec(f"{short}_views_1d", "product_view", "count", DAY_MS, **more),
            FeatureSpec(f"{short}_people_7d", "*", "distinct", 7 * DAY_MS),
            FeatureSpec(f"{short}_sold_30d", "purchase", "sum", 30 * DAY_MS, of=("quantity",)),
            FeatureSpec(f"{short}_value", "purchase", "mean", 30 * DAY_MS, of=("value",)),
            FeatureSpec(f"{short}_warm", "product_view", "decay", half_life_ms=DAY_MS),
            FeatureSpec(f"{short}_ever", "purchase", "lifetime"),
            FeatureSpec(f"{short}_per_view", "", "ratio", of=(f"{short}_ever",
                                                               f"{short}_views_1d")))


def entities(keep: int = 1000, tell: int = 1000) -> tuple[EntitySpec, ...]:
    return tuple(EntitySpec(name, keep, tell, of(name))
                 for name in ("item", "category", "campaign", "property.color"))


def told(number: int, person: str, kind: str, at_ms: int, **fields: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "tenant": "t", "event_type": kind, "event_ms": at_ms,
            "appended_ms": at_ms, "profile_id": person, "purposes": 15, "quantity": 1.0,
            "origin_partition": 0, "origin_offset": number, "origin_sequence": 0, **fields}


def events(seed: int, count: int = 200, items: int = 8, people: int = 30) -> list[dict[str, Any]]:
    """Views and searches that name an item, orders with lines, orders without."""
    dice, at_ms, found = random.Random(seed), START, []
    for number in range(count):
        at_ms += dice.randrange(3 * HOUR_MS)
        item = f"i{int(items * dice.random() ** 2)}"
        kind = dice.choice(["product_view", "product_view", "purchase", "search"])
        fields: dict[str, Any] = {"item_id": item, "category": dice.choice(["hats", "shoes", ""]),
                                  "value_micros": dice.randrange(1, 400) * 250_000,
                                  "quantity": dice.randrange(1, 9) / 2}
        if dice.random() < 0.5:
            fields["properties_json"] = orjson.dumps(dice.choice([
                {"campaign": "spring"}, {"campaign": "sale", "color": "röd"}, {"color": 7},
                {"color": "blue"}, [1]])).decode()
        if kind == "purchase" and dice.random() < 0.6:
            fields["lines_json"] = orjson.dumps([
                [f"i{dice.randrange(items)}", dice.randrange(1, 4), dice.randrange(1, 90) * 10**5]
                for _ in range(dice.randrange(1, 4))]).decode()
        found.append(told(number, f"p{dice.randrange(people)}", kind, at_ms, **fields))
    return found


def namings(event: dict[str, Any], entity: str) -> dict[str, tuple[float, float]]:
    """{thing: (value, quantity)} that an event names."""
    plain = (event.get("value_micros", 0) / 1e6, event["quantity"])
    if entity == "category":
        return {event["category"]: plain} if event["category"] else {}
    if entity == "item":
        if not event.get("lines_json"):
            return {event["item_id"]: plain}
        found: dict[str, tuple[float, float]] = {}
        for item, units, price in orjson.loads(event["lines_json"]):
            value, quantity = found.get(item, (0.0, 0.0))
            found[item] = value + units * price / 1e6, quantity + units
        return found
    free = orjson.loads(event.get("properties_json") or "{}")
    name = free.get(entity.removeprefix("property.")) if isinstance(free, dict) else None
    return {name: plain} if isinstance(name, str) else {}


def twin(log: list[dict[str, Any]], spec: EntitySpec, name: str, at_ms: int,
         ) -> tuple[int, dict[str, float | None]]:
    """(people, values) of a thing, from everything that was ever heard."""
    heard = [Heard(n, e["event_type"], e["event_ms"], *amounts, item=e["profile_id"])
             for n, e in enumerate(log) if (amounts := namings(e, spec.name).get(name))]
    by_name = {each.name: each for each in spec.features}
    people = obvious(spec.people, heard, at_ms, by_name)
    return int(people or 0), {each.name: obvious(each, heard, at_ms, by_name)
                              for each in spec.features}


@dataclass
class Shop:
    """Some partitions of choose."""

    partitions: int
    specs: tuple[EntitySpec, ...]
    people_min: int = 0
    playbooks: tuple[Playbook, ...] = ()
    side: SideInputs = field(default_factory=SideInputs)

    def __post_init__(self) -> None:
        self.program = Program(PERSON, (), entities=self.specs)
        self.logic = ChooseLogic(self.side, self.program, lambda side, tenant: self.playbooks,
                                 members_min=self.people_min)
        self.states = [self._fresh(part) for part in range(self.partitions)]
        self.things = Things(self.specs, self.side, people_min=self.people_min)
        self.now_ms = START

    def _fresh(self, part: int) -> PartitionState:
        state = checkpoints.fresh(self.logic, part, self.partitions)
        self.logic.recovered(state)
        return state

    def hear(self, log: list[dict[str, Any]], *, batch: int = 7, gap: int = 1,
             ) -> list[dict[str, Any]]:
        """Take events, in batches; the decisions they lead to. `gap`: between offsets."""
        made = []
        for state in self.states:
            own = [Record("events.admitted", state.partition, gap * e["origin_offset"],
                          e["profile_id"].encode(), KIND.encode(e), e["event_ms"])
                   for e in log
                   if partition_of(e["profile_id"].encode(), self.partitions) == state.partition]
            for start in range(0, len(own), batch):
                out = Out("choose", self.now_ms)
                self.logic.walk(state, own[start:start + batch], out)
                made += [contract("decisions.made").decode(e.value or b"") for e in out.emissions
                         if e.topic == "decisions.made"]
        return made

    def tell(self, after_ms: int = 60_000) -> list[dict[str, Any]]:
        """All partitions say their things a minute later, and everybody hears it."""
        self.now_ms += after_ms
        said = []
        for state in self.states:
            out = Out("choose", self.now_ms)
            self.logic.before_checkpoint(state, out)
            said += [ROLLED.decode(emission.value or b"") for emission in out.emissions
                     if emission.topic == "segments.rolled"]
            state.slab.take_dirty()
        for share in said:
            self.side.take("segments.rolled", share)
        return said

    def rows(self, part: int = 0) -> dict[bytes, bytes]:
        """Rows of things, their stamps left out."""
        tables: Tables = tables_of(self.states[part])
        rows = ((key, framed.split(tables.encode(key) or b"")) for key in tables.entities)
        return {key: (row or b"")[8:] + orjson.dumps(tail) for key, (_, row, tail) in rows}
