"""The registry client against a real HTTP server that speaks the registry's interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas import contract, frame
from schemas.events import EventDecoder, Fault, decode
from streams.adapters.registry import SchemaRegistry
from streams.kernel.errors import UnreachableError

RAW = contract("events.raw")
GOOD = decode(b'{"event_id":"1","event_type":"page_view","event_ms":1790000000000,"user_id":"u"}')
ANSWERS = {
    "/schemas/ids/1": (200, json.dumps({"schema": json.dumps(RAW.source)})),
    "/schemas/ids/2": (200, json.dumps({"schema": "{}", "schemaType": "PROTOBUF"})),
    "/schemas/ids/3": (200, json.dumps({"schema": "{}", "references": [{"name": "x"}]})),
    "/schemas/ids/4": (200, "<html>"),
    "/schemas/ids/5": (500, ""),
    "/schemas/ids/6": (401, ""),
}


@pytest.fixture
def registry() -> Iterator[tuple[str, list[str]]]:
    """(URL, the paths asked so far)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, body = ANSWERS.get(self.path, (404, '{"error_code":40403}'))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_confluent_framed_events_are_read_and_the_schema_is_asked_once(
        registry: tuple[str, list[str]]) -> None:
    url, asked = registry
    assert isinstance(GOOD, dict)
    decoder = EventDecoder(registry=SchemaRegistry(url))
    for _ in range(3):
        assert decoder.decode(frame(1, RAW.encode_body(GOOD))) == GOOD
    assert asked == ["/schemas/ids/1"]


@pytest.mark.parametrize("schema_id", [2, 3, 404])
def test_what_is_no_avro_schema_is_an_unknown_schema(
        registry: tuple[str, list[str]], schema_id: int) -> None:
    fault = EventDecoder(registry=SchemaRegistry(registry[0])).decode(frame(schema_id, b"x"))
    assert isinstance(fault, Fault) and fault.reason == "unknown_schema"


@pytest.mark.parametrize("schema_id", [4, 5, 6])
def test_a_registry_that_fails_is_not_the_events_fault(
        registry: tuple[str, list[str]], schema_id: int) -> None:
    with pytest.raises(UnreachableError, match="registry"):
        SchemaRegistry(registry[0]).writer_schema(schema_id)


def test_a_registry_that_is_down_is_said_without_its_password() -> None:
    with pytest.raises(UnreachableError) as fault:
        SchemaRegistry("http://user:hunter2@127.0.0.1:9").writer_schema(1)
    assert "hunter2" not in str(fault.value)
