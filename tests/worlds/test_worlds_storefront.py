"""The storefront's world: the same dice give the same people, and the truth is what was drawn."""

from __future__ import annotations

import json

import pytest

from schemas import contract
from streams.kernel.moments import DAY_MS, HOUR_MS
from streams.worlds.storefront import shop as shops
from streams.worlds.storefront.people import UPLIFT_MATCHED, draw
from streams.worlds.storefront.running import Run
from streams.worlds.storefront.simulation import Mail, Reaction, Storefront, World, start_of
from streams.worlds.storefront.truth import Decided, lift
from streams.worlds.storefront.wire import FATES

WALL_MS = 1_800_000_000_000
WINDOW_MS = DAY_MS
ARMS = {"reminder": "reminder", "social": "social_proof", "help": "helpful"}


def _world(seed: int = 7, shoppers: int = 200, mess: float = 0.05) -> Storefront:
    return Storefront(World(seed, shoppers, 4.0, start_of(WALL_MS, days=4, window_ms=WINDOW_MS),
                            WINDOW_MS, ARMS, mess_share=mess), shops.load())


def _decoded(value: bytes) -> dict[str, object]:
    kind = contract("events.raw")
    return kind.decode(value) if kind.is_mine(value) else json.loads(value)


@pytest.mark.parametrize("seed", [1, 7, 99])
def test_the_same_seed_sends_the_same_bytes(seed: int) -> None:
    one, two = _world(seed), _world(seed)
    sent = [list(w.advance(w.end_ms, wall_ms=WALL_MS)) for w in (one, two)]
    assert sent[0] == sent[1] and one.sent == two.sent


def test_everything_lies_in_the_past_and_comes_in_order_but_for_the_mess() -> None:
    world = _world()
    events = [_decoded(p.value) for p in world.advance(world.end_ms, wall_ms=WALL_MS)
              if p.kind == "event"]
    times = [int(str(e["event_ms"])) for e in events]
    assert times == sorted(times) and world.world.start_ms <= times[0]
    assert times[-1] <= world.end_ms < WALL_MS - 3 * DAY_MS
    assert len({e["event_id"] for e in events}) == len(events)


def test_the_mess_is_counted_by_the_fate_it_must_have() -> None:
    world = _world(mess=0.5)
    packets = list(world.advance(world.end_ms, wall_ms=WALL_MS))
    assert {p.kind for p in packets if p.kind != "event"} == set(FATES)
    assert sum(world.expected.values()) == sum(world.sent.values()) == len(packets)
    assert world.expected["quarantined"] == sum(FATES.get(p.kind) == "quarantined" for p in packets)
    assert world.expected["duplicate"] <= world.sent["repeated"]


def test_both_encodings_say_the_same_things() -> None:
    world = _world(mess=0.0)
    packets = list(world.advance(world.end_ms, wall_ms=WALL_MS))
    avro = [p for p in packets if contract("events.raw").is_mine(p.value)]
    assert 0.3 < len(avro) / len(packets) < 0.7
    assert {"purchase", "cart_add", "identify"} <= {str(_decoded(p.value)["event_type"])
                                                   for p in avro}


def _mail(number: int, to: str, variant: str) -> Mail:
    return Mail(number, to, f"d{number}", variant, "o", "c", "u")


def test_a_message_changes_a_shopper_exactly_by_the_chances_that_were_drawn() -> None:
    world = _world(shoppers=600, mess=0.0)
    list(world.advance(world.end_ms, wall_ms=WALL_MS))
    for shopper in draw(7, 600, days=4.0, categories=6):
        world.read(_mail(shopper.number, shopper.email, "reminder"), world.world.start_ms)
    for reading in world.log:
        assert reading.in_time
        gain = reading.chance_with - reading.chance_without
        assert gain == pytest.approx(0.25) or gain == pytest.approx(0.05)
    converted = sum(reading.converts for reading in world.log) / len(world.log)
    assert converted == pytest.approx(
        sum(reading.chance_with for reading in world.log) / len(world.log), abs=0.07)


def test_a_message_that_comes_too_late_changes_nothing() -> None:
    world = _world()
    world.read(_mail(1, next(iter(world._carts)), "reminder"), world.end_ms + DAY_MS)
    assert all(r.chance_with == r.chance_without and not r.in_time for r in world.log)


def test_strangers_and_second_messages_are_passed_over() -> None:
    world = _world()
    assert world.read(_mail(1, "nobody@example.test", "help"), 0) == Reaction()
    for number in (1, 2):
        for email in world._carts:
            world.read(_mail(number, email, "help"), world.world.start_ms)
    assert {reading.decision_id for reading in world.log} == {"d1"}


def test_the_truth_is_the_mean_over_treated_first_decisions() -> None:
    world = _world(shoppers=400)
    emails = [email for email, cart in world._carts.items() if cart.visitor.shopper.reads][:4]
    for number, email in enumerate(emails):
        world.read(_mail(number, email, "reminder"), world.world.start_ms)
    decisions = [Decided(f"d{n}", f"p{n}", 10, holdout=False) for n in range(4)]
    decisions += [Decided("d9", "p0", 20, holdout=False),     # a second one of the same person
                  Decided("dx", "p7", 10, holdout=False),     # treated, but nothing was read
                  Decided("dh", "p8", 10, holdout=True)]
    found = lift(decisions, world.log)
    gains = [r.chance_with - r.chance_without for r in world.log]
    assert found["lift"] == pytest.approx(sum(gains) / 5)
    assert (found["units"], found["treated"], found["held_out"], found["read"]) == (6, 5, 1, 4)
    assert lift([], [])["lift"] is None


class _Bench:
    """Broker, mailbox, browser and road in one: every cart is answered some hours later."""

    def __init__(self, world: Storefront, delay_ms: int) -> None:
        self.world, self.delay_ms = world, delay_ms
        self.clock_ms, self.wall_ms = 0, WALL_MS
        self.reactions: list[Reaction] = []
        self.purchases = 0
        self._due = sorted((cart.abandoned_ms + HOUR_MS // 2, email)
                           for email, cart in world._carts.items())

    def event(self, key: bytes, value: bytes) -> None:
        self.purchases += b"purchase" in value

    def item(self, record: dict[str, object]) -> None: ...
    def settle(self) -> None: ...

    def clock(self, tenant: str, now_ms: int) -> None:
        assert now_ms >= self.clock_ms
        self.clock_ms = now_ms

    def after(self, mail_id: int, limit: int) -> list[Mail]:
        come = [(n, email) for n, (moment_ms, email) in enumerate(self._due, 1)
                if moment_ms <= self.look() and n > mail_id]
        return [_mail(n, email, "reminder") for n, email in come[:limit]]

    def do(self, reaction: Reaction) -> None:
        self.reactions.append(reaction)

    def mark(self, virtual_ms: int) -> None: ...

    def look(self) -> int:
        """A road that lies behind by a fixed virtual time, and by less when time passes."""
        return self.clock_ms - max(0, self.delay_ms - (self.wall_ms - WALL_MS))

    def now_ms(self) -> int:
        return self.wall_ms

    def sleep(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000 * 60)


@pytest.mark.parametrize("delay_ms", [0, 6 * HOUR_MS, 30 * HOUR_MS])
def test_every_shopper_reads_in_time_however_slow_the_road(delay_ms: int) -> None:
    world = _world()
    bench = _Bench(world, delay_ms)
    Run(world, bench, bench, bench, bench, bench, slices_per_s=1000.0, patience_s=1e9).go()
    assert bench.clock_ms >= world.last_abandoned_ms + WINDOW_MS
    assert world.log and all(reading.in_time for reading in world.log)
    assert len(bench.reactions) >= len(world.log) * 0.9
    assert UPLIFT_MATCHED > 0
