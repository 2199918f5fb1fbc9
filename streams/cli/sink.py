"""`kairos sink`: run the sink, or prove that what it brought in is whole."""

from __future__ import annotations

import dataclasses
import json
import logging
import signal
import sys
import threading

import click

from streams import settings as configuration
from streams.kernel.errors import StateError


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"at": self.formatTime(record), "level": record.levelname,
                           "part": "sink", "text": record.getMessage()})


@click.group()
def sink() -> None:
    """Kafka into ClickHouse, exactly once in effect."""


@sink.command()
@click.option("--name", default="sink", show_default=True, help="Tells sinks of one group apart.")
@click.option("--json", "as_json", is_flag=True, help="Log lines as JSON.")
def run(name: str, as_json: bool) -> None:
    """Bring every topic into ClickHouse until told to stop."""
    from infra.processes import ready_file
    from sinks.service import SinkService
    out = logging.StreamHandler()
    out.setFormatter(_JsonLines() if as_json else logging.Formatter(
        "%(asctime)s %(levelname)s sink: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[out])
    settings = configuration.load()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ready = ready_file(settings, name)
    ready.parent.mkdir(parents=True, exist_ok=True)
    ready.unlink(missing_ok=True)
    try:
        SinkService(settings, name).run(stop, ready.touch)
    finally:
        ready.unlink(missing_ok=True)


@sink.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(as_json: bool) -> None:
    """Prove that no offset was left out or stored twice."""
    from rich.console import Console
    from rich.table import Table

    from sinks.audit import audit
    from sinks.client import connect
    found = audit(connect(configuration.load(), user="reader"))
    if as_json:
        click.echo(json.dumps({
            "holds": all(one.holds for one in found),
            "topics": [{**dataclasses.asdict(one), "verdict": one.verdict} for one in found]}))
        sys.exit(0 if all(one.holds for one in found) else 1)
    table = Table("topic", "batches", "rows", "poison", "control", "verdict", box=None)
    for one in found:
        table.add_row(one.topic, f"{one.batches:,}", f"{one.rows:,}", f"{one.poison_rows:,}",
                      f"{one.control_rows:,}", one.verdict)
    Console().print(table)
    if not all(one.holds for one in found):
        raise StateError("the tables are not what the ledger says",
                         "see the verdicts; expired and erased rows are missing rightly")
