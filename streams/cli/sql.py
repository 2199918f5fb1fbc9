"""`kairos sql`: ask ClickHouse as the analysts' read-only user."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from streams import settings as configuration
from streams.kernel.errors import KairosError

_LIST = """
SELECT name, if(engine = 'View', 'view', 'table') AS kind, comment
FROM system.tables WHERE database = currentDatabase()
ORDER BY kind DESC, name
"""
ROWS_SHOWN_MAX = 500
_PIPED_CHARS = 100_000


@click.command()
@click.argument("query", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Read the query from a file.")
@click.option("--format", "form", default="", metavar="FORMAT",
              help="Print in a ClickHouse format as it comes: CSVWithNames, JSONEachRow, Vertical…")
@click.option("--json", "as_json", is_flag=True, help="Print rows as a JSON list of objects.")
def sql(query: str | None, file: Path | None, form: str, as_json: bool) -> None:
    """Run a query; without one, list the tables and views with what they mean.

    \b
    kairos sql "SELECT * FROM arms"
    kairos sql "DESCRIBE TABLE decisions"
    kairos sql --format CSVWithNames "SELECT * FROM latency" > latency.csv
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from sinks.client import connect
    if query and file:
        raise click.UsageError("give a query or --file, not both")
    text = (file.read_text("utf-8") if file else query) or _LIST
    client = connect(configuration.load(), user="reader")
    try:
        if form:
            raw = client.raw_query(text.strip().rstrip(";"), fmt=form)
            sys.stdout.buffer.write(raw if isinstance(raw, bytes) else raw.encode())
            return
        found = client.query(text.strip().rstrip(";"))
    except ClickHouseError as fault:
        raise KairosError(_sentence(fault), "`kairos sql` lists the tables, and "
                          "`kairos sql \"DESCRIBE TABLE <name>\"` their columns") from fault
    if as_json:
        rows = [dict(zip(found.column_names, row, strict=True)) for row in found.result_rows]
        click.echo(json.dumps(rows, default=_plain, ensure_ascii=False))
    else:
        _show(found.column_names, found.result_rows)


def _show(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    if not rows:
        click.echo("no rows")
        return
    table = Table(header_style="bold", box=None, pad_edge=False)
    for index, name in enumerate(names):
        numeric = bool(rows) and isinstance(rows[0][index], int | float | Decimal)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows[:ROWS_SHOWN_MAX]:
        table.add_row(*(_cell(value) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PIPED_CHARS)      # a file or a pipe has no edge to fold at
    console.print(table)
    if len(rows) > ROWS_SHOWN_MAX:
        console.print(f"{ROWS_SHOWN_MAX} of {len(rows)} rows; --format prints them all")


def _cell(value: object) -> Any:
    from rich.text import Text
    if isinstance(value, datetime.datetime):
        return Text(value.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00"))
    if isinstance(value, float):
        return Text(f"{value:.6g}")
    return Text("" if value is None else str(value))


def _plain(value: object) -> object:
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be printed as JSON")


def _sentence(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0][:500]
