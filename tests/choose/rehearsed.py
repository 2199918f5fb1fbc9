"""A process that rehearses and then takes what really may come; it prints how many records it heard
and, a line each, what was compiled meanwhile."""

from __future__ import annotations

import random
from typing import Any

from broker_model import Broker, drive
from entity_world import events
from test_choose_crash import PLAYBOOKS, watermark

from schemas import contract
from streams import pipeline
from streams.assembly import rehearse
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine.compiling import dispatchers
from streams.engine.rehearsal import Memory
from streams.engine.room import Room
from streams.kernel.moments import DAY_MS
from streams.kernel.side_inputs import SideInputs
from streams.settings import load


def signatures() -> set[tuple[str, str]]:
    return {(f"{each.py_func.__module__}.{each.py_func.__name__}", str(signature))
            for each in dispatchers for signature in each.signatures}


def records(seed: int) -> list[tuple[bytes, bytes]]:
    """Two thousand people's events, links between some of them, changes of items, watermarks."""
    dice, found = random.Random(seed), list[tuple[bytes, bytes]]()
    for number, event in enumerate(events(seed, count=4000, people=2000)):
        event["country"], event["cart_id"] = dice.choice(["DE", "FR"]), f"c{dice.randrange(9)}"
        if dice.random() < 0.2:
            event["event_type"] = "cart_add"
        found.append((event["profile_id"].encode(), contract(pipeline.ADMITTED).encode(event)))
        origin = {"tenant": "t", "appended_ms": event["appended_ms"], "origin_partition": 0,
                  "origin_offset": event["origin_offset"], "origin_sequence": 1}
        other: dict[str, Any] | None = None
        if number % 200 == 50:
            found.append((b"t", watermark(event["event_ms"] - DAY_MS)))
        elif number % 200 == 99:
            other = {"visitor_id": event["profile_id"], "profile_id": "known", "row": b"",
                     "event": b"", "event_ms": event["event_ms"], "stage": "admit"}
            found.append((b"", contract("handover").encode({**origin, **other})))
        elif number % 200 == 149:
            other = {"item_id": event["item_id"], "as_of_ms": event["event_ms"], "currency": "EUR",
                     "price_before_micros": 2, "price_micros": 1, "was_in_stock": True,
                     "in_stock": True}
            found.append((b"", contract("item_change").encode({**origin, **other})))
    return [*found, (b"t", watermark(event["event_ms"] + 200 * DAY_MS))]


def main() -> None:
    settings, side = load(), SideInputs()
    rehearse(["choose"], settings)
    ready = signatures()
    room = Room(200_000, Memory) if settings.profile_memory_mb else None
    broker, heard = Broker(partitions=1), 0
    for seed, batch in ((1, 500), (2, 2000), (3, 1)):
        told = records(seed) if batch > 1 else records(seed)[:200]
        broker.logs[pipeline.ADMITTED, 0].extend(told)
        logic = ChooseLogic(side, compiled(settings.definitions), lambda side, tenant: PLAYBOOKS,
                            members_min=0, room=room)
        lane = drive(broker, logic, 0, batch=batch, checkpoint_every=2)
        assert lane is not None and not broker.logs.get((pipeline.QUARANTINE, 0))
        for _, value in broker.logs[pipeline.SEGMENT_ROLLS, 0]:
            side.take(pipeline.SEGMENT_ROLLS, contract(pipeline.SEGMENT_ROLLS).decode(value or b""))
        heard += lane.records_count
    print(f"heard {heard}")
    for name, signature in sorted(signatures() - ready):
        print(name, signature)


main()
