"""kairos catalogue: publish what messages may state about a shop's items."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from streams import settings as configuration
from streams.adapters.clock import WallClock
from streams.adapters.history import KafkaBus
from streams.catalogue.listing import item_record
from streams.cli.tenancy import tenant_option
from streams.kernel.errors import ContractError, KairosError

Rows = Iterator[tuple[int, Any]]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@tenant_option("Whose items these are.")
@click.option("--currency", default="", metavar="CODE",
              help="ISO 4217 code of prices that name none.")
@click.option("--check", is_flag=True, help="Read and check only; needs no broker.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def catalogue(file: Path, tenant: str, currency: str, check: bool, as_json: bool) -> None:
    """Publish the items of FILE (CSV with a header, JSON Lines, or a JSON list).

    Fields: item_id, title and price; if you have them currency, category, url, in_stock and
    attributes. What is published replaces what stood for that item and is true as of now. A fault
    in any row publishes nothing. Messages state no facts older than 90 days: publish anew from
    time to time.
    """
    records = _checked(file, tenant=tenant, currency=currency)
    if not check:
        bus = KafkaBus(configuration.load(), "kairos-catalogue")
        try:
            for record in records:
                bus.item(record)
            bus.settle()
        finally:
            bus.close()
    if as_json:
        click.echo(json.dumps({"tenant": tenant, "items": len(records), "published": not check}))
    else:
        click.echo(f"{len(records):,} items of {tenant} "
                   f"{'are good; nothing was sent' if check else 'published'}")


def _checked(file: Path, *, tenant: str, currency: str) -> list[dict[str, Any]]:
    """Every row's record. Raises KairosError with the line of the first fault."""
    records: dict[str, dict[str, Any]] = {}
    first_line: dict[str, int] = {}
    now_ms = WallClock().now_ms()
    for line, row in _rows(file):
        if not isinstance(row, dict):
            raise KairosError(f"{file}:{line}: is not an object with fields",
                              'write {"item_id": "mug-7", "title": "Mug", "price": 12.5}')
        try:
            record = item_record(row, tenant=tenant, currency=currency, as_of_ms=now_ms)
        except ContractError as fault:
            raise KairosError(f"{file}:{line}: {fault.message}", fault.remedy) from None
        item_id = record["item_id"]
        if item_id in records:
            raise KairosError(f"{file}:{line}: item_id {item_id!r} stands in line "
                              f"{first_line[item_id]} already", "keep one of them")
        records[item_id], first_line[item_id] = record, line
    if not records:
        raise KairosError(f"{file}: holds no item", "write one row for each item")
    return list(records.values())


def _rows(file: Path) -> Rows:
    """(line, row) of the file; for a JSON list (place in the list, row)."""
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise KairosError(f"{file} is not UTF-8 text", "save it as UTF-8") from None
    except OSError as fault:
        raise KairosError(f"{file} cannot be read: {fault.strerror}", "check the path") from None
    if text.lstrip().startswith("["):
        return _of_list(file, text)
    if text.lstrip().startswith("{"):
        return _of_lines(file, text)
    return _of_csv(file, text.splitlines(keepends=True))


def _of_list(file: Path, text: str) -> Rows:
    try:
        yield from enumerate(json.loads(text), start=1)
    except ValueError as fault:
        raise KairosError(f"{file} is not JSON: {fault}", "mend it, or write one object a line"
                          ) from None


def _of_lines(file: Path, text: str) -> Rows:
    for line, row in enumerate(text.split("\n"), start=1):
        if row.strip():
            try:
                yield line, json.loads(row)
            except ValueError as fault:
                raise KairosError(f"{file}:{line}: is not JSON: {fault}",
                                  "write one object a line, or all in one list") from None


def _of_csv(file: Path, lines: Iterable[str]) -> Rows:
    reader = csv.DictReader(lines, restkey="", strict=True)
    try:
        for row in reader:
            if "" in row or None in row.values():
                raise KairosError(f"{file}:{reader.line_num}: has not as many values as the header",
                                  "separate values by commas; quote those that hold one")
            yield reader.line_num, row
    except csv.Error as fault:
        raise KairosError(f"{file}:{reader.line_num}: is not CSV: {fault}",
                          "check quotes and commas") from None
