"""Rehearsing choose: a little of everything that its events.admitted may hold, see
`engine.rehearsal`.

The people, their shop and the playbooks are made up; features, segments and entities are the
worker's own, because what they ask for decides which compiled code there is to make ready.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import orjson

from schemas import contract
from streams import pipeline
from streams.choose.agent import ChooseLogic
from streams.choose.features.spec import PROPERTY, FeatureSpec
from streams.choose.program import Program
from streams.engine.records import Emission, Record
from streams.engine.rehearsal import NOW_MS, Memory, Rehearsal
from streams.engine.room import Room
from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Condition, Playbook, Trigger, Variant

# More than any table of rows begins with: they have grown when it is over.
_PEOPLE: Final = 900
_TENANT, _TALKER, _VISITOR, _BUYER = "rehearsal", f"{0:032x}", f"{1:032x}", f"{2:032x}"
_LOUD: Final = ("product_view", "cart_add", "purchase")        # what the playbooks wait for


class RehearsalError(Exception):
    """Something that was played could not be taken."""


def rehearse(program: Program, *, spills: bool) -> None:
    """Have ready what choose needs under these definitions.

    spills   whether rows may leave memory
    Raises RehearsalError when the stage put something aside: the real ones would be, too.
    """
    side = SideInputs()
    playbooks = _playbooks(program)
    stage = _Stage(Rehearsal(ChooseLogic(
        side, program, lambda _, tenant: playbooks, members_min=0,
        room=Room(1, Memory) if spills else None)), side, _properties(program))
    for item in range(3):
        side.take(pipeline.CATALOGUE, {"tenant": _TENANT, "item_id": f"i{item}", "category": "c"})
    kinds = sorted({spec.event for spec in _specs(program)} - {"", "*"})
    quiet = [kind for kind in kinds if kind not in _LOUD] or ["visit"]
    stage.play(*(stage.event(f"{n:032x}", quiet[n % len(quiet)], NOW_MS) for n in range(_PEOPLE)))
    for day in range(2):
        _one_day(stage, kinds, NOW_MS + day * DAY_MS)
        stage.rehearsal.recover()
    stage.play(stage.mark(NOW_MS + 500 * DAY_MS))


def _specs(program: Program) -> list[FeatureSpec]:
    return [*program.people.specs, *(spec for each in program.entities for spec in each.features)]


def _one_day(stage: _Stage, kinds: Sequence[str], at_ms: int) -> None:
    """What happens to a few people, and between their events."""
    told = [*kinds, *_LOUD]
    stage.play(*(stage.event(person, kind, at_ms + n * MINUTE_MS)
                 for n, kind in enumerate(told) for person in (_TALKER, _VISITOR)))
    stage.play(stage.told("item_change", item_id="i0", as_of_ms=at_ms + HOUR_MS, currency="EUR",
                          price_before_micros=2, price_micros=1, was_in_stock=False,
                          in_stock=True),
               stage.mark(at_ms + 2 * HOUR_MS))
    _turned_out(stage, at_ms + 3 * HOUR_MS)
    stage.play(stage.mark(at_ms + 12 * HOUR_MS))


def _turned_out(stage: _Stage, at_ms: int) -> None:
    """The visitor is the buyer: row and later events follow, and a row of the past is filled in."""
    links = [stage.told("handover", key=who, visitor_id=_VISITOR, profile_id=_BUYER,
                        event_ms=at_ms, row=b"", event=b"", stage="admit")
             for who in (_BUYER, _VISITOR)]
    said = stage.play(*links, stage.event(_VISITOR, "product_view", at_ms))
    given = [each for each in said if contract("handover").is_mine(each.value or b"")]
    stage.play(*(stage.record(each.key, each.value or b"") for each in given))
    for each in given:
        fields = contract("handover").decode(each.value or b"")
        if fields["row"]:
            stage.play(stage.told("backfill", profile_id=_TALKER, layout=fields["layout"],
                                  row=fields["row"], since_ms=0))


class _Stage:
    """The stage's partition, as its records come."""

    def __init__(self, rehearsal: Rehearsal, side: SideInputs, properties: Collection[str]) -> None:
        self.rehearsal, self._side, self._count = rehearsal, side, 0
        self._properties = ("", *(orjson.dumps(dict.fromkeys(properties, told)).decode()
                                  for told in ("c", 1.5)))

    def play(self, *records: Record) -> list[Emission]:
        """What the stage says; two partitions are heard to say it of groups and things."""
        said = self.rehearsal.play(records)
        for emission in said:
            if emission.topic == pipeline.QUARANTINE:
                raise RehearsalError(contract(pipeline.QUARANTINE).decode(
                    emission.value or b"")["detail"])
            if emission.topic == pipeline.SEGMENT_ROLLS:
                share = contract(pipeline.SEGMENT_ROLLS).decode(emission.value or b"")
                for partition in range(2):
                    self._side.take(pipeline.SEGMENT_ROLLS, {**share, "partition": partition})
        return said

    def record(self, key: bytes, value: bytes) -> Record:
        self._count += 1
        return Record(pipeline.ADMITTED, 0, self._count - 1, key, value, NOW_MS)

    def told(self, schema: str, *, key: str = "", **fields: Any) -> Record:
        """`key`: where the person of it is not who it is told to."""
        return self.record((key or fields.get("profile_id", "")).encode(), contract(schema).encode({
            "tenant": _TENANT, "appended_ms": NOW_MS, "origin_partition": 0,
            "origin_offset": self._count, "origin_sequence": 0, **fields}))

    def event(self, person: str, event_type: str, event_ms: int) -> Record:
        n = self._count
        lines = orjson.dumps([[f"i{n % 3}", 1, 1], ["i3", 2, 1]]).decode() if n % 2 else ""
        return self.told(
            pipeline.ADMITTED, event_id=f"e{n}", event_type=event_type, event_ms=event_ms,
            profile_id=person, purposes=15, item_id=f"i{n % 3}", cart_id="c", order_id=f"o{n}",
            category="c", value_micros=1_000_000, quantity=1.0, source="s", currency="EUR",
            locale="en", country="DE", timezone="Europe/Berlin", lines_json=lines,
            properties_json=self._properties[n % len(self._properties)])

    def mark(self, watermark_ms: int) -> Record:
        return self.told("watermark", watermark_ms=watermark_ms)


def _properties(program: Program) -> set[str]:
    """The free properties that the definitions ask for."""
    asked = {name for spec in _specs(program) for name in (*spec.of, *spec.where[:1])}
    asked.update(program.people.where_fields)
    return {name.removeprefix(PROPERTY) for name in asked if name.startswith(PROPERTY)}.union(
        each.property_name for each in program.entities) - {""}


def _playbooks(program: Program) -> tuple[Playbook, ...]:
    """A decision that asks for every feature, one that a watermark makes, and one of an item."""
    asks = tuple(
        Condition("feature", name=spec.name, compare="has", text="c")
        if spec.value_is != "number" else
        Condition("feature", name=spec.name, compare="at_least", number=0.0)
        for spec in program.people.specs)
    when = Condition("any", asks) if asks else None
    triggers = (
        Trigger("event", "purchase", when=when),
        Trigger("absence", "cart_add", "purchase", 30 * MINUTE_MS, "cart_id"),
        Trigger("absence", "product_view", "purchase", 30 * MINUTE_MS),
        Trigger("back_in_stock", without="purchase", within_ms=DAY_MS, events=("product_view",)))
    return tuple(Playbook(
        name=f"p{n}", trigger=trigger, brief="b", variants=(Variant("a", "reminder"),),
        conversion="purchase", window_ms=DAY_MS, expires_ms=DAY_MS, cooldown_ms=0, tenant=_TENANT,
        audience=when, version=1, cap_messages=10**6) for n, trigger in enumerate(triggers))
