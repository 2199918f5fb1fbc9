"""The address of ClickHouse: one client for the embedded engine and for any server."""

from __future__ import annotations

from typing import Literal

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from infra import secrets
from infra.parts import reachable
from streams.kernel.errors import SettingsError, UnreachableError
from streams.settings import Settings

DATABASE = "kairos"


def connect(settings: Settings, *, user: Literal["writer", "reader"] = "reader",
            wait_s: float = 120.0) -> Client:
    """A client of the kairos database.

    user    writer for the sink and migrations; reader may only read
    wait_s  longest wait for an answer, seconds

    With a DSN its own user is used for both; the reader's client then asks for read-only itself.
    Raises UnreachableError when nothing answers or the password is refused, and SettingsError when
    the DSN cannot be read.
    """
    try:
        if settings.embedded_clickhouse:
            return clickhouse_connect.get_client(
                host=reachable(settings), port=settings.clickhouse_port, database=DATABASE,
                username=f"kairos_{user}", password=secrets.read(settings, f"clickhouse_{user}"),
                autogenerate_session_id=False, send_receive_timeout=int(wait_s))
        return clickhouse_connect.get_client(
            dsn=settings.clickhouse, autogenerate_session_id=False,
            send_receive_timeout=int(wait_s),
            settings={"readonly": "2"} if user == "reader" else {})
    except ClickHouseError as fault:
        raise UnreachableError(
            f"ClickHouse does not answer at {address(settings)}: {_first_line(fault)}",
            "start it with `kairos up`, or check KAIROS_CLICKHOUSE") from fault
    except ValueError as fault:
        raise SettingsError("KAIROS_CLICKHOUSE", str(fault),
                            "write clickhouse://user:password@host:8123/kairos") from fault


def address(settings: Settings) -> str:
    """Host and port, without credentials."""
    if settings.embedded_clickhouse:
        return f"{reachable(settings)}:{settings.clickhouse_port}"
    return settings.clickhouse.rpartition("@")[2].removeprefix("clickhouse://")


def _first_line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0][:200]
