"""`kairos clickhouse`: the embedded ClickHouse engine as a server of its HTTP interface."""

from __future__ import annotations

import click

from infra.clickhouse import server
from streams import settings


@click.group()
def clickhouse() -> None:
    """The embedded ClickHouse engine."""


@clickhouse.command()
def serve() -> None:
    """Own HOME/clickhouse and answer ClickHouse's HTTP clients until stopped (Ctrl-C, SIGTERM)."""
    server.serve(settings.load(), announce=click.echo)
