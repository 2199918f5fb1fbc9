"""Parts for the tests of deliver: a message, a partition, a vault, a channel, a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from schemas import contract
from streams.deliver.agent import DeliverLogic, DeliverParams
from streams.deliver.ports import ChannelPort, Parcel, Reply
from streams.engine.records import Out, Record, Seen
from streams.engine.slab import Slab
from streams.engine.stage import PartitionState
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel.side_inputs import SideInputs

KEY = b"0123456789abcdef0123456789abcdef"
DAY_MS = 86_400_000
NOW_MS = 1_760_000_000_000
MOMENT_MS = 1_290_000_000_000          # the tenant lives in 2010: an event clock
PROFILE = "a" * 32


def message(**changes: Any) -> dict[str, Any]:
    """A messages.ready record: decided just now, useful for an hour, contact allowed."""
    plain: dict[str, Any] = {
        "decision_id": "d" * 32, "tenant": "default", "profile_id": PROFILE,
        "playbook": "abandoned_cart", "playbook_version": 1, "channel": "email", "arm": "plain",
        "rung": "grammar", "subject": "Your cart, {first_name}",
        "body": "Hello {first_name},\n\nthe lamp is waiting.\n\nhttps://shop.example/lamp\n\n"
                "{unsubscribe_url}",
        "link": "https://shop.example/lamp", "facts_json": "{}", "brief_json": "{}",
        "prompt_hash": "", "model": "grammar", "tokens_in": 0, "tokens_out": 0,
        "cost_usd_micros": 0, "gates_json": "[]", "moment_ms": MOMENT_MS,
        "useful_until_ms": MOMENT_MS + 3_600_000, "purposes": 15, "locale": "en",
        "trigger_appended_ms": NOW_MS, "decided_ms": NOW_MS, "ready_ms": NOW_MS,
        "origin_partition": 0, "origin_offset": 0, "origin_sequence": 0}
    assert changes.keys() <= plain.keys()
    return {**plain, **changes}


def batch(*messages: dict[str, Any], first: int = 0) -> list[Record]:
    """Records of messages, each with its own origin, at offsets from `first`."""
    return [Record("messages.ready", 0, first + at, each["profile_id"].encode(),
                   contract("messages.ready").encode({**each, "origin_offset": first + at}), NOW_MS)
            for at, each in enumerate(messages)]


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    async def sleep_ms(self, span_ms: int) -> None:
        wake_ms = self._now_ms + span_ms
        await asyncio.sleep(0)
        self._now_ms = max(self._now_ms, wake_ms)


class Shelf:
    """A vault of plain dictionaries."""

    def __init__(self, **people: dict[str, str]) -> None:
        self.people = people or {PROFILE: {"email": "ada@shop.example", "first_name": "Ada"}}

    def get(self, profile_id: str, name: str) -> str | None:
        return self.people.get(profile_id, {}).get(name)


class Scripted:
    """A channel that answers from a list, then says yes to everything; keeps what it was given."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.parcels: list[Parcel] = []
        self.taken: list[Parcel] = []

    async def send(self, parcel: Parcel) -> Reply:
        self.parcels.append(parcel)
        await asyncio.sleep(0)
        reply = self.replies.pop(0) if self.replies else Reply("taken", "OK", confirmed=True)
        if reply.verdict == "taken":
            self.taken.append(parcel)
        return reply

    async def close(self) -> None:
        return None


def partition() -> PartitionState:
    return PartitionState(0, Slab(topics=1, fields=0), Seen(), Watermarks(1), Timers())


def logic(channel: ChannelPort, *, side: SideInputs | None = None, vault: Shelf | None = None,
          name: str = "email", clock: Callable[[int], Any] = Clock, **params: Any) -> DeliverLogic:
    return DeliverLogic(side or SideInputs(), vault or Shelf(), {name: channel}, DeliverParams(
        KEY, "http://127.0.0.1:1", "Shop <hello@shop.example>", clock=clock, **params))


def run(stage: DeliverLogic, state: PartitionState, records: Sequence[Record],
        now_ms: int = NOW_MS) -> list[tuple[str, dict[str, Any]]]:
    """Walk a batch; what it emitted, decoded."""
    out = Out("deliver", now_ms)
    asyncio.run(stage.walk(state, records, out))
    return [(each.topic, contract(each.topic).decode(each.value)) for each in out.emissions]


def deliveries(emitted: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
    """(status, reason) of each delivery row."""
    return [(row["status"], row["reason"]) for topic, row in emitted if topic == "deliveries.sent"]
