"""How commands read ClickHouse: SQL with bound parameters in, rows by column name out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.client import connect
from sinks.report.queries import Ask, Row
from streams.kernel.errors import KairosError
from streams.settings import Settings


def reader(settings: Settings) -> Ask:
    """A read-only `ask`. Raises UnreachableError when ClickHouse does not answer."""
    client = connect(settings, user="reader")

    def ask(sql: str, parameters: Mapping[str, Any]) -> list[Row]:
        try:
            return list(client.query(sql, parameters=dict(parameters)).named_results())
        except ClickHouseError as fault:
            raise KairosError(f"ClickHouse refused a question: {str(fault).splitlines()[0][:300]}",
                              "`kairos doctor` says whether the views are there and up to date"
                              ) from fault

    return ask
