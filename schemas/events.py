"""From the bytes of an events.raw value to an event that keeps the contract, or to a fault.

Total: whatever the bytes are, `decode` answers with an event or a `Fault` and never raises on their
account. The first byte tells the framing (schemas/framing); one set of rules (schemas/event_fields)
judges all of them, so a wrong price is the same fault in JSON and in Avro.

In JSON a repeated key counts once, with its last value. What breaks it is named with its field and
byte (schemas/json_text).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final, Protocol

import fastavro
import orjson

from schemas import json_text
from schemas.contracts import CONTRACTS
from schemas.event_fields import (
    ID_CHARS_MAX,
    NUMBER_MAX,
    RECEIPTS,
    RULES,
    TEXTS,
    Unfit,
    moment,
    rounded,
    unknown,
)
from schemas.framing import MAGIC_SINGLE_OBJECT, split

EVENT_BYTES_MAX: Final = 65536
RAW: Final = CONTRACTS["events.raw"]
_NAMES: Final = (*RULES, "timestamp")
_EMPTY: Final[dict[str, Any]] = {name: RAW.fields[name].get("default") for name in RAW.fields}
_BROKEN: Final = (ValueError, EOFError, IndexError, OverflowError, MemoryError, TypeError, KeyError,
                  AttributeError, ArithmeticError, RecursionError,
                  fastavro.schema.SchemaParseException, fastavro.schema.UnknownType)
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "alias": ("user_id", "anonymous_id"), "consent": ("consent",),
    **{receipt: ("decision_id", "channel") for receipt in RECEIPTS}}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value is no event: a reason of kernel/outcomes, the field, what to do about it."""

    reason: str
    field: str
    detail: str


class WriterSchemas(Protocol):
    """Where the schemas of the Confluent wire format come from (a schema registry)."""

    def writer_schema(self, schema_id: int) -> Any | None:
        """The Avro schema with that id as parsed JSON; None when there is no such Avro schema.

        May raise when the registry does not answer: that is not the event's fault.
        """
        ...


class EventDecoder:
    """Decodes values of events.raw. `bytes_max` is the largest value taken, in bytes."""

    def __init__(self, *, bytes_max: int = EVENT_BYTES_MAX,
                 registry: WriterSchemas | None = None) -> None:
        self.bytes_max = bytes_max
        self.registry = registry
        self._parsed: dict[int, Any] = {}

    def decode(self, value: bytes) -> dict[str, Any] | Fault:
        """An event with every field of the contract, or the first fault found."""
        try:
            return keep_contract(self._unframe(value))
        except Unfit as unfit:
            return Fault(unfit.reason, unfit.field, unfit.detail)

    def _unframe(self, value: bytes) -> dict[str, Any]:
        if len(value) > self.bytes_max:
            raise Unfit("too_large", "", f"{len(value)} bytes; the limit is {self.bytes_max} "
                        "(KAIROS_EVENT_BYTES_MAX): send less in properties")
        framing, identity, body = split(value)
        if framing == "json" or body[:1] == b"[":
            return _from_json(body, before=len(value) - len(body))
        if framing == "single_object":
            return _from_single_object(identity, body)
        if framing == "confluent":
            return self._from_confluent(int.from_bytes(identity, "big"), body)
        if value[:2] == MAGIC_SINGLE_OBJECT:
            raise Unfit("bad_avro", "", "ends within the 10-byte header of single-object encoding")
        raise Unfit("not_json", "", "the value is empty; send one JSON object a record"
                    if not value else
                    f"begins with byte 0x{value[0]:02x}; send a JSON object in UTF-8, Avro "
                    "single-object encoding or the Confluent wire format")

    def _from_confluent(self, schema_id: int, body: bytes) -> dict[str, Any]:
        if self.registry is None:
            raise Unfit("no_registry", "", f"names registry schema {schema_id}, but no registry is "
                        "configured; set KAIROS_SCHEMA_REGISTRY or send single-object Avro or JSON")
        parsed = self._parsed.get(schema_id)
        if parsed is None:
            source = self.registry.writer_schema(schema_id)
            if source is None:
                raise Unfit("unknown_schema", "", f"the registry has no Avro schema {schema_id}; "
                            "register docs' events.raw schema there first")
            parsed = self._parsed[schema_id] = _parse(source, schema_id)
        return _read(body, parsed)


_DEFAULT = EventDecoder()


def decode(value: bytes) -> dict[str, Any] | Fault:
    """`EventDecoder().decode`: the default size limit, no registry."""
    return _DEFAULT.decode(value)


def keep_contract(raw: dict[str, Any]) -> dict[str, Any]:
    """The event in `raw` with every field of the contract; raises Unfit at the first fault."""
    event = dict(_EMPTY)
    for name, value in raw.items():
        if name in TEXTS and type(value) is str and 0 < len(value) <= ID_CHARS_MAX:
            event[name] = value
            continue
        rule = RULES.get(name)
        if rule is None:
            if name != "timestamp":
                raise unknown(str(name), _NAMES, "put your own fields in properties")
        elif value is not None:
            found = rule(value, name)
            event[name] = _EMPTY[name] if found is None else found
    stamp = raw.get("timestamp")
    if stamp is not None:
        if event["event_ms"] is not None:
            raise Unfit("bad_value", "timestamp", "stands beside event_ms; send only one of them")
        event["event_ms"] = moment(stamp, "timestamp")
    _need(event)
    _fill_value(event)
    return event


def _need(event: dict[str, Any]) -> None:
    for name in ("event_id", "event_type", "event_ms"):
        if event[name] is None:
            or_else = " (or timestamp)" if name == "event_ms" else ""
            raise Unfit("missing_field", name, f"is missing; every event needs it{or_else}")
    kind = event["event_type"]
    for name in _NEEDS.get(kind, ()):
        if not event[name]:
            raise Unfit("missing_field", name, f"is missing; every {kind} event needs it")
    if kind.startswith("message_") and kind not in RECEIPTS:
        raise Unfit("bad_value", "event_type", "message_ is kept for receipts: "
                    + ", ".join(RECEIPTS))


def _fill_value(event: dict[str, Any]) -> None:
    """`value` defaults to the sum of the lines, else to price times quantity (1 if unknown)."""
    if event["value"] is not None:
        return
    if event["lines"]:
        total = sum(line["quantity"] * line["price"] for line in event["lines"])
    elif event["price"] is not None:
        total = event["price"] * (1.0 if event["quantity"] is None else event["quantity"])
    else:
        return
    if not abs(total) <= NUMBER_MAX:
        raise Unfit("bad_value", "value", f"quantities times prices exceed {NUMBER_MAX:.0e}")
    event["value"] = total


def _from_json(body: bytes, *, before: int) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise Unfit("not_json", *json_text.explain(body, fault, before=before)) from None
    if isinstance(found, list):
        raise Unfit("wrong_type", "", f"is a list of {len(found)}; send one JSON object, one event "
                    "a record")
    if not isinstance(found, dict):
        raise Unfit("wrong_type", "", "must be one JSON object, one event a record")
    if found.get("properties"):                          # other fields have limits of their own
        for name in json_text.beyond(body):
            if name.startswith("properties."):
                raise rounded(name)
    return found


def _from_single_object(fingerprint: bytes, body: bytes) -> dict[str, Any]:
    if fingerprint == RAW.fingerprint:
        return _read(body, RAW.parsed)
    other = next((name for name, kind in CONTRACTS.items() if kind.fingerprint == fingerprint), "")
    raise Unfit("unknown_schema", "", f"is a record of {other}, not of events.raw" if other else
                f"schema fingerprint {fingerprint.hex()} is not events.raw's "
                f"({RAW.fingerprint.hex()}); write with schemas/events.raw.avsc of this release")


def _read(body: bytes, schema: Any) -> dict[str, Any]:
    stream = io.BytesIO(body)
    try:
        record = fastavro.schemaless_reader(stream, schema, None)
    except _BROKEN as fault:
        raise Unfit("bad_avro", "", f"does not decode with the schema it names "
                    f"({type(fault).__name__}); is the schema id right?") from None
    if stream.read(1):
        raise Unfit("bad_avro", "", "bytes are left over after the record; is the schema id right?")
    if not isinstance(record, dict):
        raise Unfit("bad_avro", "", "the schema it names is not a record")
    return record


def _parse(source: Any, schema_id: int) -> Any:
    try:
        if _is_safe(source, frozenset()):
            return fastavro.parse_schema(source)
        detail = "is recursive or has lists of nothing, which a few bytes could make endless"
    except _BROKEN as fault:
        detail = f"is not a valid Avro schema ({type(fault).__name__})"
    raise Unfit("unknown_schema", "", f"registry schema {schema_id} {detail}")


def _is_safe(schema: Any, open_names: frozenset[str]) -> bool:
    """False for what could make a short value decode without end (a stranger's schema may)."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2] not in open_names
    if isinstance(schema, list):
        return all(_is_safe(branch, open_names) for branch in schema)
    kind = schema.get("type")
    if kind == "record":
        inside = open_names | {str(schema["name"]).rpartition(".")[2]}
        return all(_is_safe(field["type"], inside) for field in schema["fields"])
    if kind == "array":
        items = schema["items"]
        hollow = (items == "null" or (isinstance(items, dict) and (
            items.get("type") in ("null", "fixed") or items.get("fields") == [])))
        return not hollow and _is_safe(items, open_names)
    if kind == "map":
        return _is_safe(schema["values"], open_names)
    return not isinstance(kind, dict | list) or _is_safe(kind, open_names)
