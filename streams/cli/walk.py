"""kairos walk: be the event. One journey through admit, choose and compose, in this process."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from schemas import CONTRACTS
from streams import settings as configuration
from streams.adapters.models import compose_logic
from streams.admit.agent import AdmitLogic
from streams.choose.agent import ChooseLogic
from streams.choose.definitions import compiled
from streams.engine.records import Emission, Out, Record, Seen
from streams.engine.stage import PartitionState, StageLogic
from streams.engine.timers import Timers
from streams.engine.watermarks import Watermarks
from streams.kernel.moments import parse_moment, parse_span, show_moment
from streams.kernel.money import to_micros
from streams.kernel.side_inputs import SideInputs
from streams.pipeline import BY_NAME, CATALOGUE, CONSENTS, PLAYBOOKS, RAW
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks
from streams.privacy.pseudonyms import Pseudonyms
from streams.privacy.vault import Deposit
from streams.settings import PROJECT
from streams.worlds.replaying import clock_event
from streams.worlds.sections import Section, read

SHIPPED = PROJECT / "streams" / "worlds" / "journeys" / "cart_abandoned.journey"
_KEY = b"a key for walks: no person of a journey is real"
_SHOWN = ("event_type", "item_id", "cart_id", "purposes", "reason", "detail", "playbook", "holdout",
          "arm", "propensity", "segment", "entered", "purpose", "granted", "rung", "subject")


@dataclass(frozen=True, slots=True)
class Leg:
    """One thing that came out of a stage."""

    stage: str
    topic: str
    event_ms: int
    says: str


@dataclass(slots=True)
class _Vault:
    """Identifiers of one walk, in memory."""

    kept: dict[tuple[str, str], str] = field(default_factory=dict)

    def put_many(self, deposits: Iterable[Deposit]) -> None:
        for deposit in deposits:
            self.kept.update({(deposit.profile_id, name): value for name, value in deposit.fields})

    def get(self, profile_id: str, name: str) -> str | None:
        return self.kept.get((profile_id, name))

    def forget(self, profile_id: str) -> bool:
        return bool([self.kept.pop(key) for key in list(self.kept) if key[0] == profile_id])


@click.command()
@click.argument("journey", type=click.Path(path_type=Path), default=SHIPPED)
@click.option("--json", "as_json", is_flag=True, help="Print the legs as a JSON list.")
def walk(journey: Path, as_json: bool) -> None:
    """Walk one JOURNEY through the stages and print what each makes of it. Needs no server.

    A journey is a small YAML file: tenant, playbooks, catalogue, start, events, until. The default
    is the one that we ship: a cart is left.
    """
    legs = walk_file(journey)
    if as_json:
        click.echo(json.dumps([{"stage": leg.stage, "topic": leg.topic, "event_ms": leg.event_ms,
                                "says": leg.says} for leg in legs]))
        return
    table, before = Table("stage", "topic", "time", "what came out"), ""
    for leg in legs:
        if leg.stage != before:
            asked = "; ".join(step.asks for step in BY_NAME[leg.stage].steps)
            table.add_section()
            table.add_row(leg.stage, "", "", f"[dim]{asked}[/dim]")
            before = leg.stage
        moment = show_moment(leg.event_ms)[11:19] if leg.event_ms else ""
        table.add_row("", leg.topic, moment, leg.says)
    Console().print(table)


def walk_file(path: Path) -> list[Leg]:
    """Every emission of admit, choose and compose, in order. Raises MappingError, PlaybookError."""
    top, side = read(path), SideInputs()
    tenant, start_ms = top.text("tenant", "default"), _moment(top)
    for name in top.texts("playbooks"):
        where = path.parent / name
        playbook, text = loading.load(where, tenant=tenant), where.read_text("utf-8")
        if playbook.clock != "event":      # a journey lives by its own clock, like any replay
            text = f"{text.rstrip()}\nclock: event\n"
        record = loading.to_record(playbook, text, published_ms=start_ms)
        side.take(PLAYBOOKS, {**record, "version": 1})
    for item in top.sections("catalogue"):
        side.take(CATALOGUE, {
            "tenant": tenant, "item_id": item.text("item_id"), "title": item.text("title"),
            "category": item.text("category", ""), "currency": item.text("currency", "USD"),
            "price_micros": to_micros(item.number("price", 0)), "url": item.text("url", ""),
            "in_stock": item.flag("in_stock", True), "attributes_json": "", "as_of_ms": start_ms})
        item.close()
    raw = _raw_records(top, tenant, start_ms)
    top.close()
    return asyncio.run(_walk(raw, side))


def _moment(top: Section) -> int:
    try:
        return parse_moment(str(top.raw("start", "2026-03-02T10:00:00Z")))
    except ValueError as fault:
        top.fail("start", str(fault), "write it like 2026-03-02T10:00:00Z")


def _raw_records(top: Section, tenant: str, start_ms: int) -> list[Record]:
    """The journey's events between two clock events."""
    values = [clock_event(tenant, start_ms, partition=0)]
    for number, event in enumerate(top.sections("events")):
        after_ms = _span(event, "after", "0s")
        fields = {key: event.raw(key) for key in event.names() if key != "after"}
        values.append(orjson.dumps({"event_id": f"walk-{number}", "event_ms": start_ms + after_ms,
                                    "tenant": tenant, **json.loads(json.dumps(fields))}))
    end_ms = start_ms + _span(top, "until", "1d")
    values.append(clock_event(tenant, end_ms, partition=0))
    return [Record(RAW, 0, offset, b"walk", value, end_ms) for offset, value in enumerate(values)]


def _span(section: Section, key: str, default: str) -> int:
    try:
        return parse_span(section.text(key, default))
    except ValueError as fault:
        section.fail(key, str(fault))


async def _walk(raw: list[Record], side: SideInputs) -> list[Leg]:
    playbooks = ActivePlaybooks(loading.from_yaml)
    logics: list[StageLogic] = [
        AdmitLogic(side, Pseudonyms(_KEY), _Vault(), partitions=1),
        ChooseLogic(side, compiled(), playbooks.of, members_min=0),
        compose_logic(configuration.load(), side)]
    legs, records = list[Leg](), raw
    for logic in logics:
        out = await _stage(logic, records)
        legs += [leg for emission in out if (leg := _leg(logic.name, emission)) is not None]
        for emission in out:
            if emission.topic == CONSENTS and emission.value is not None:
                side.take(CONSENTS, CONTRACTS[CONSENTS].decode(emission.value))
        wanted = BY_NAME[logic.name].outputs[0]
        values = [(e.key, e.value) for e in out if e.topic == wanted and e.value is not None]
        records = [Record(wanted, 0, offset, key, value, raw[-1].appended_ms)
                   for offset, (key, value) in enumerate(values)]
    return legs


async def _stage(logic: StageLogic, records: list[Record]) -> list[Emission]:
    state = PartitionState(0, logic.make_slab(), Seen(), Watermarks(1), Timers())
    logic.recovered(state)
    out = Out(logic.name, records[-1].appended_ms if records else 0)
    work = logic.walk(state, records, out)
    if inspect.isawaitable(work):
        await work
    return out.emissions


def _leg(stage: str, emission: Emission) -> Leg | None:
    """The emission as a line of the table; None for watermarks, which are no outcome."""
    kind = CONTRACTS[emission.topic]
    if emission.value is None or not kind.is_mine(emission.value):
        return None
    record: dict[str, Any] = kind.decode(emission.value)
    if record.get("outcome") == "control":
        return None
    event_ms = int(record.get("event_ms") or record.get("moment_ms") or 0)
    says = "  ".join(f"{name}={record[name]}" for name in _SHOWN
                     if record.get(name) not in ("", None))
    return Leg(stage, emission.topic, event_ms, says)
