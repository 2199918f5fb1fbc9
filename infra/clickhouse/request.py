"""One HTTP request read as a ClickHouse query: who asks, for what, with which settings."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from infra.clickhouse.errors import ClickHouseError

# Parameters of the protocol; everything else in the URL is a setting of the query.
PROTOCOL = frozenset((
    "query", "database", "default_format", "query_id", "quota_key", "user", "password", "role",
    "session_id", "session_timeout", "session_check", "compress", "decompress",
    "wait_end_of_query", "buffer_size", "client_protocol_version", "stacktrace",
    "enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers",
    "cancel_http_readonly_queries_on_client_close", "http_headers_progress_interval_ms",
    "http_response_buffer_size", "http_write_exception_in_output_format", "replace_running_query",
    "http_wait_end_of_query", "close_session", "log_comment", "add_http_cors_header",
    "http_response_headers", "http_receive_timeout", "http_send_timeout"))
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
SESSION_TIMEOUT_S = 60
SESSION_TIMEOUT_S_MAX = 3600


@dataclass(frozen=True, slots=True)
class Ask:
    """Everything of a request but its body.

    params     bound values by name, in the protocol's escaped text form
    settings   settings by name, as text
    database   empty means the default one
    """

    method: str
    user: str
    password: str
    sql: bytes
    database: str
    default_format: str
    query_id: str
    session_id: str
    session_timeout_s: int
    session_check: bool
    close_session: bool
    replace_running: bool
    log_comment: str
    settings: dict[str, str]
    params: dict[str, str]
    wait_end: bool
    blocks_in: bool
    blocks_out: bool
    content_encoding: str
    content_type: str
    accept_encoding: str

    @property
    def read_only(self) -> bool:
        """As in ClickHouse, a GET never changes anything."""
        return self.method != "POST"


def read(method: str, query_string: bytes, headers: dict[str, str]) -> Ask:
    """Read URL and headers (names in lower case). Raises ClickHouseError for what cannot be."""
    pairs = dict(parse_qsl(query_string.decode("latin-1"), keep_blank_values=True,
                           encoding="utf-8", errors="surrogateescape"))
    user, password = _who(pairs, headers)
    flag = _Flags(pairs)
    return Ask(
        method=method, user=user, password=password,
        sql=pairs.get("query", "").encode("utf-8", "surrogateescape"),
        database=headers.get("x-clickhouse-database") or pairs.get("database", ""),
        default_format=headers.get("x-clickhouse-format") or pairs.get("default_format", ""),
        query_id=pairs.get("query_id") or headers.get("x-clickhouse-query-id", ""),
        session_id=pairs.get("session_id", ""), session_timeout_s=_timeout_s(pairs),
        session_check=flag.on("session_check"), close_session=flag.on("close_session"),
        replace_running=flag.on("replace_running_query"),
        log_comment=pairs.get("log_comment", ""),
        settings=_settings(pairs), params=_params(pairs),
        wait_end=flag.on("wait_end_of_query", "http_wait_end_of_query"),
        blocks_in=flag.on("decompress"), blocks_out=flag.on("compress"),
        content_encoding=headers.get("content-encoding", ""),
        content_type=headers.get("content-type", ""),
        accept_encoding=(headers.get("accept-encoding", "")
                         if flag.on("enable_http_compression") else ""))


class _Flags:
    def __init__(self, pairs: dict[str, str]) -> None:
        self._pairs = pairs

    def on(self, *names: str) -> bool:
        return any(self._pairs.get(name, "0").lower() in ("1", "true") for name in names)


def _who(pairs: dict[str, str], headers: dict[str, str]) -> tuple[str, str]:
    """User and password: headers of ClickHouse, Basic, or the URL, in this order."""
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", ""), headers.get("x-clickhouse-key", "")
    scheme, _, blob = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, word = base64.b64decode(blob.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as fault:
            raise ClickHouseError(516, "Invalid authentication: the Basic header is no base64 of "
                                       "user:password") from fault
        return name, word
    if scheme:
        raise ClickHouseError(516, f"Invalid authentication: '{scheme}' HTTP Authorization scheme "
                                   "is not supported")
    return pairs.get("user", ""), pairs.get("password", "")


def _timeout_s(pairs: dict[str, str]) -> int:
    raw = pairs.get("session_timeout", "")
    if not raw:
        return SESSION_TIMEOUT_S
    if not raw.isdecimal() or not 0 < int(raw) <= SESSION_TIMEOUT_S_MAX:
        raise ClickHouseError(374, f"Invalid session timeout: '{raw}', it takes 1 to "
                                   f"{SESSION_TIMEOUT_S_MAX} seconds", "INVALID_SESSION_TIMEOUT")
    return int(raw)


def _settings(pairs: dict[str, str]) -> dict[str, str]:
    found = {name: value for name, value in pairs.items()
             if name not in PROTOCOL and not name.startswith("param_")}
    for name in found:
        if _NAME.match(name) is None:
            raise ClickHouseError(115, f"Unknown setting '{name}'")
    return found


def _params(pairs: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("param_"): value for name, value in pairs.items()
            if name.startswith("param_")}


def with_form(ask: Ask, body: bytes) -> Ask:
    """The same request with the fields of a multipart body read in.

    Raises ClickHouseError for files: external tables are not to be had in the embedded engine.
    """
    head = f"Content-Type: {ask.content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename() is not None:
            raise ClickHouseError(48, "External tables are not available in the embedded engine; "
                                      "load the rows into a temporary table of a session")
        name = part.get_param("name", header="content-disposition")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode("utf-8", "surrogateescape")
    sql = ask.sql or fields.get("query", "").encode("utf-8", "surrogateescape")
    return replace(ask, sql=sql, content_type="",
                   settings={**_settings(fields), **ask.settings},
                   params={**_params(fields), **ask.params})
