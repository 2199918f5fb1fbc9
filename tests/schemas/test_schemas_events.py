"""Decoding of events.raw: a table of bad inputs, and the law that decoding is total."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import contract, event_fields, frame
from schemas.events import EventDecoder, Fault, decode
from streams.kernel.moments import YEAR_2100_MS, parse_moment
from streams.kernel.outcomes import REASONS

RAW = contract("events.raw")
GOOD: dict[str, Any] = {"event_id": "e1", "event_type": "cart_add", "event_ms": 1_700_000_000_000,
                        "user_id": "u1"}


def json_of(**fields: Any) -> bytes:
    return orjson.dumps({**GOOD, **fields})


BAD = [
    # what is wrong, bytes, reason, field, a word of the remedy
    ("nothing", b"", "not_json", "", "empty"),
    ("prose", b"hello", "not_json", "", "JSON object"),
    ("a list", b" [1]", "wrong_type", "", "one event a record"),
    ("a bare list", b'[{"event_id":"e1"}]', "wrong_type", "", "one event a record"),
    ("a list cut short", b'[{"event_id":"e1"', "not_json", "[0].event_id", "at byte 17"),
    ("a text of UTF-16", '{"a":1}'.encode("utf-16"), "not_json", "", "UTF-8"),
    ("a number alone", b" 1", "wrong_type", "", "one JSON object"),
    ("cut short", json_of()[:-3], "not_json", "user_id", "Send all of it"),
    ("cut short in a name", b'{"event_id":"e1","event_t', "not_json", "", "Send all of it"),
    ("cut short behind a backslash", b'{"event_id":"e1\\', "not_json", "event_id", "Send all"),
    ("bytes after it", json_of() + b"}", "not_json", "", f"at byte {len(json_of())}"),
    ("two in a record", json_of() + b"\n" + json_of(), "not_json", "", "one event a record"),
    ("not UTF-8", b'{"event_id":"\xff\xfe"}', "not_json", "event_id", "UTF-8 at byte 13 (0xff)"),
    ("Latin-1 in a line", b'{"lines":[{"item_id":"a,{[\\"]}"},{"item_id":"caf\xe9"}]}', "not_json",
     "lines[1].item_id", "UTF-8 at byte 48 (0xe9)"),
    ("half a surrogate", b'{"event_id":"\\ud800"}', "not_json", "event_id", "surrogate"),
    ("a bare line break", b'{"query":"a\nb"}', "not_json", "query", "\\n"),
    ("NaN", b'{"value":NaN}', "not_json", "value", "leave the field out"),
    ("NaN behind other letters", '\ufeff{"query":"\u00e9","value": NaN}'.encode(), "not_json",
     "value", "at byte 26"),
    ("minus infinity", b'{"lines":[{},{"quantity":1,"price":-Infinity}]}', "not_json",
     "lines[1].price", "leave the field out"),
    ("a number of 400 digits", b'{"properties":{"a":{"b":[0,1e400]}}}', "not_json",
     "properties.a.b[1]", "leave the field out"),
    ("a word that is no JSON", b'{"price":None}', "not_json", "price", "JSON library"),
    ("a comma too many", b'{"price":1,}', "not_json", "price", "JSON library"),
    ("a value without a name", b'{"a":{"alice"}}', "not_json", "a", "JSON library"),
    ("too deep", b'{"properties":' + b"[" * 5000, "not_json", "properties" + "[0]" * 23 + "[",
     "flatten"),
    ("a number beyond 64 bits", json_of()[:-1] + b',"properties":{"n":[18446744073709551616]}}',
     "bad_value", "properties.n[0]", "as text"),
    ("a number below 64 bits", json_of()[:-1] + b',"properties":{"n": -9223372036854775809}}',
     "bad_value", "properties.n", "as text"),
    ("a long number in text", json_of(properties='{"card":12345678901234567890123}'), "bad_value",
     "properties.card", "as text"),
    ("a long price", b'{"price":12345678901234567890123}', "bad_value", "price", "at most"),
    ("a long time", b'{"event_ms":12345678901234567890123}', "bad_value", "event_ms", "2100"),
    ("deep properties", b'{"properties":' + b'{"a":' * 500 + b"1" + b"}" * 501,
     "bad_value", "properties", "nested"),
    ("too large", json_of(query="x" * 70_000), "too_large", "", "65536"),
    ("no id", json_of(event_id=None), "missing_field", "event_id", "every event"),
    ("an empty id", json_of(event_id=""), "missing_field", "event_id", "every event"),
    ("no type", json_of(event_type=None), "missing_field", "event_type", "every event"),
    ("no time", json_of(event_ms=None), "missing_field", "event_ms", "timestamp"),
    ("two times", json_of(timestamp="2026-01-01"), "bad_value", "timestamp", "only one"),
    ("a number as id", json_of(user_id=42), "wrong_type", "user_id", "quotes"),
    ("a list as id", json_of(user_id=["a"]), "wrong_type", "user_id", "text"),
    ("a long id", json_of(user_id="u" * 201), "bad_value", "user_id", "200"),
    ("a type in capitals", json_of(event_type="Page View"), "bad_value", "event_type",
     "snake_case"),
    ("a type of two lines", json_of(event_type="page\n"), "bad_value", "event_type", "snake_case"),
    ("an unknown receipt", json_of(event_type="message_seen"), "bad_value", "event_type",
     "message_opened"),
    ("time as text", json_of(event_ms="1700000000000"), "wrong_type", "event_ms", "quotes"),
    ("half a millisecond", json_of(event_ms=1.5), "wrong_type", "event_ms", "round"),
    ("true as time", json_of(event_ms=True), "wrong_type", "event_ms", "milliseconds"),
    ("time before 1970", json_of(event_ms=-1), "bad_value", "event_ms", "March 1973"),
    ("time zero", json_of(event_ms=0), "bad_value", "event_ms", "March 1973"),
    ("seconds", json_of(event_ms=1_700_000_000), "bad_value", "event_ms", "seconds"),
    ("a timestamp of nothing", json_of(event_ms=None, timestamp=0), "bad_value", "timestamp",
     "March 1973"),
    ("a timestamp of the year 9999", json_of(event_ms=None, timestamp="9999-12-31"), "bad_value",
     "timestamp", "2100"),
    ("a timestamp of the year 1", json_of(event_ms=None, timestamp="0001-01-01T00:00+14:00"),
     "bad_value", "timestamp", "March 1973"),
    ("microseconds", json_of(event_ms=1_700_000_000_000_000), "bad_value", "event_ms", "2100"),
    ("a huge integer", b'{"event_ms":1%s}' % (b"0" * 400), "not_json", "event_ms",
     "number"),
    ("a timestamp in prose", json_of(event_ms=None, timestamp="yesterday"), "bad_value",
     "timestamp", "ISO 8601"),
    ("a timestamp object", json_of(event_ms=None, timestamp={}), "wrong_type", "timestamp", "ISO"),
    ("an empty tenant", json_of(tenant=""), "bad_value", "tenant", "leave the field out"),
    ("a tenant with a slash", json_of(tenant="a/b"), "bad_value", "tenant", "letters"),
    ("price in quotes", json_of(price="3.50"), "wrong_type", "price", "without quotes"),
    ("true as price", json_of(price=True), "wrong_type", "price", "number"),
    ("an endless value", json_of(value=1e300), "bad_value", "value", "finite"),
    ("lines that overflow", json_of(lines=[{"item_id": "a", "quantity": 1e9, "price": 1e9}]),
     "bad_value", "value", "exceed"),
    ("currency in lower case", json_of(currency="eur"), "bad_value", "currency", "ISO 4217"),
    ("lines as an object", json_of(lines={}), "wrong_type", "lines", "list"),
    ("a line of text", json_of(lines=["a"]), "wrong_type", "lines[0]", "object"),
    ("a line without item", json_of(lines=[{"item_id": "a"}, {"price": 1}]), "missing_field",
     "lines[1].item_id", "item"),
    ("a line's price in quotes",
     json_of(lines=[{"item_id": "a"}, {"item_id": "b"}, {"item_id": "c", "price": "1"}]),
     "wrong_type", "lines[2].price", "without quotes"),
    ("a line's unknown field", json_of(lines=[{"item_id": "a", "colour": "red"}]),
     "unknown_field", "lines[0].colour", "item_id"),
    ("too many lines", json_of(lines=[{"item_id": "a"}] * 1001), "bad_value", "lines", "1000"),
    ("an unclear consent", json_of(consent={"contact": "yes"}), "wrong_type", "consent.contact",
     "true or false"),
    ("an empty word of consent", json_of(consent={"contact": None}), "wrong_type",
     "consent.contact", "true or false"),
    ("an unknown purpose", json_of(consent={"personalize": True}), "unknown_field",
     "consent.personalize", "personalise"),
    ("a consent list", json_of(consent=["contact"]), "wrong_type", "consent", "object"),
    ("a number as trait", json_of(traits={"phone": 49301234}), "wrong_type", "traits.phone",
     "quotes"),
    ("too many traits", json_of(traits={f"t{n}": "x" for n in range(65)}), "bad_value", "traits",
     "fewer"),
    ("properties as a list", json_of(properties=[1]), "wrong_type", "properties", "object"),
    ("properties in broken text", json_of(properties="{"), "bad_value", "properties", "object"),
    ("an unknown field", json_of(colour="red"), "unknown_field", "colour", "properties"),
    ("camel case", json_of(eventType="x"), "unknown_field", "eventType", "event_type"),
    ("a habit", json_of(sku="x"), "unknown_field", "sku", "item_id"),
    ("a receipt of nothing", json_of(event_type="message_opened", channel="email"),
     "missing_field", "decision_id", "message_opened"),
    ("a receipt from nowhere", json_of(event_type="message_opened", decision_id="d"),
     "missing_field", "channel", "message_opened"),
    ("half an alias", json_of(event_type="alias"), "missing_field", "anonymous_id", "alias"),
    ("a silent consent", json_of(event_type="consent"), "missing_field", "consent", "consent"),
    ("Avro's header cut", b"\xc3\x01\x00", "bad_avro", "", "header"),
    ("an unknown fingerprint", b"\xc3\x01" + b"\x00" * 9, "unknown_schema", "", "avsc"),
    ("another topic's record", contract("watermark").prefix + b"\x00", "unknown_schema", "",
     "watermark"),
    ("broken Avro", RAW.prefix + b"\xff" * 40, "bad_avro", "", "decode"),
    ("Avro cut short", RAW.encode({**decode(json_of()), "event_id": "longer"})[:-4], "bad_avro",
     "", "decode"),
    ("Avro with more behind", RAW.encode(decode(json_of())) + b"\x00", "bad_avro", "",
     "left over"),
    ("Avro with a bad value", RAW.encode({**decode(json_of()), "price": math.nan}), "bad_value",
     "price", "finite"),
    ("Confluent framing", b"\x00\x00\x00\x00\x07abc", "no_registry", "", "KAIROS_SCHEMA_REGISTRY"),
]


@pytest.mark.parametrize(("value", "reason", "field", "word"), [row[1:] for row in BAD],
                         ids=[row[0] for row in BAD])
def test_a_bad_value_is_a_fault_that_names_field_and_remedy(
        value: bytes, reason: str, field: str, word: str) -> None:
    fault = decode(value)
    assert isinstance(fault, Fault), fault
    assert (fault.reason, fault.field) == (reason, field), fault
    assert word in fault.detail
    assert fault.reason in REASONS


def test_a_fault_never_repeats_the_value() -> None:
    for field in ("price", "event_ms", "currency", "consent", "timestamp", "event_type"):
        fault = decode(json_of(**{field: "alice@example.org"}))
        assert isinstance(fault, Fault) and "alice" not in fault.detail


@pytest.mark.parametrize("number", [(1 << 64) - 1, -(1 << 63), 10**18])
def test_whole_numbers_of_64_bits_in_properties_are_kept_to_the_last_digit(number: int) -> None:
    event = decode(json_of(properties={"n": number, "said": f"{number}{number}"}))
    assert isinstance(event, dict), event
    assert json.loads(event["properties"]) == {"n": number, "said": f"{number}{number}"}


@given(st.binary(max_size=60), st.integers(0, 200))
def test_a_broken_text_is_a_fault_that_tells_no_value(tail: bytes, cut: int) -> None:
    whole = json_of(query="alice", lines=[{"item_id": "alice"}], properties={"a": ["alice"]})
    fault = decode(whole[:cut % len(whole)] + tail)
    if isinstance(fault, Fault):
        assert "alice" not in fault.detail + fault.field and fault.detail


def test_json_and_single_object_avro_give_the_same_event() -> None:
    event = decode(json_of(lines=[{"item_id": "a", "price": 2.5}], consent={"contact": True},
                           properties={"b": [1, 2]}, traits={"email": "a@b.c", "x": None}))
    assert isinstance(event, dict)
    assert event["lines"] == [{"item_id": "a", "quantity": 1.0, "price": 2.5}]
    assert event["properties"] == '{"b":[1,2]}'
    assert event["traits"] == {"email": "a@b.c"}
    assert event["tenant"] == "default"
    assert decode(RAW.encode(event)) == event


@pytest.mark.parametrize(("fields", "value"), [
    ({"lines": [{"item_id": "a", "quantity": 2, "price": 3}, {"item_id": "b", "price": 1}]}, 7.0),
    ({"price": 3, "quantity": 2}, 6.0), ({"price": 3}, 3.0), ({"price": 3, "quantity": 0}, 0.0),
    ({"price": 3, "value": 0}, 0.0), ({}, None)])
def test_the_value_defaults_to_lines_then_price(fields: dict[str, Any], value: float) -> None:
    event = decode(json_of(**fields))
    assert isinstance(event, dict) and event["value"] == value


_NUMBER = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.just(10**400),
                    st.sampled_from([1e12, -1e12, 10**12, 10**12 + 1, -0.0, "3"]))


@given(st.fixed_dictionaries({}, optional={
    "item_id": st.one_of(st.text(max_size=3), st.none(), st.just(7), st.just("x" * 201)),
    "quantity": _NUMBER, "price": _NUMBER, "extra": st.just(1)}))
def test_a_line_that_is_as_it_should_be_is_read_as_any_other(line: dict[str, Any]) -> None:
    quick = event_fields._line_as_sent(line)
    if quick is not None:
        assert repr(quick) == repr(event_fields._line(line, "lines[0]"))
    whole = set(line) == {"item_id", "quantity", "price"} and all(
        type(line[name]) in (float, int) and abs(line[name]) <= 1e12
        for name in ("quantity", "price"))
    assert (quick is not None) == (whole and isinstance(line["item_id"], str)
                                   and 0 < len(line["item_id"]) <= 200)


@given(st.one_of(st.integers(0, 4_000_000_000_000), st.floats(0, 4e12),
                 st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(str),
                 st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1),
                              timezones=st.just(UTC)).map(datetime.isoformat)))
def test_timestamp_means_the_same_as_in_the_kernel(stamp: object) -> None:
    event = decode(json_of(event_ms=None, timestamp=stamp))
    if not event_fields.MOMENT_MS_MIN <= parse_moment(stamp) <= YEAR_2100_MS:
        assert isinstance(event, Fault) and event.reason == "bad_value"
    else:
        assert isinstance(event, dict) and event["event_ms"] == parse_moment(stamp)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=4), max_leaves=12)
_FIELDS = st.sampled_from([*RAW.fields, "timestamp", "extra"])


def check_total(value: bytes) -> None:
    event = decode(value)
    if isinstance(event, Fault):
        assert event.reason in REASONS
    else:
        assert decode(RAW.encode(event)) == event


@given(st.binary(max_size=200))
def test_decoding_is_total_over_bytes(value: bytes) -> None:
    for head in (b"", b"{", RAW.prefix, b"\x00\x00\x00\x00\x01", b"\xef\xbb\xbf{"):
        check_total(head + value)


@given(st.dictionaries(_FIELDS, _ANY, max_size=6))
def test_decoding_is_total_over_json(fields: dict[str, Any]) -> None:
    check_total(orjson.dumps({**GOOD, **fields}))


@given(st.integers(0, 300), st.binary(min_size=1, max_size=3))
def test_decoding_is_total_over_damaged_avro(at: int, damage: bytes) -> None:
    event = decode(json_of(lines=[{"item_id": "a"}] * 3, consent={"contact": True},
                           traits={"email": "a@b.c"}, properties={"x": 1}))
    assert isinstance(event, dict)
    value = RAW.encode(event)
    at = len(RAW.prefix) + at % (len(value) - len(RAW.prefix))
    check_total(value[:at] + damage + value[at + len(damage):])


class Registry:
    """A registry in memory: the same port as the real one's."""

    def __init__(self, *schemas: Any) -> None:
        self._schemas = dict(enumerate(schemas, start=1))

    def writer_schema(self, schema_id: int) -> Any | None:
        return self._schemas.get(schema_id)


def avro(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


OLDER = {"type": "record", "name": "ShopEvent", "namespace": "com.shop", "fields": [
    {"name": "event_id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "event_type", "type": {"type": "enum", "name": "Kind", "symbols": ["cart_add"]}},
    {"name": "event_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "user_id", "type": "string"},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9,
                               "scale": 2}}]}
RECURSIVE = {"type": "record", "name": "Node", "fields": [
    {"name": "next", "type": ["null", "Node"]}]}
HOLLOW = {"type": "record", "name": "Hollow", "fields": [
    {"name": "properties", "type": {"type": "array", "items": "null"}}]}


def test_a_writers_own_schema_is_read_through_the_registry() -> None:
    from decimal import Decimal
    from uuid import UUID
    record = {"event_id": UUID(int=7), "event_type": "cart_add", "user_id": "u1",
              "event_ms": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("2.50")}
    event = EventDecoder(registry=Registry(OLDER)).decode(frame(1, avro(OLDER, record)))
    assert isinstance(event, dict), event
    assert event["event_ms"] == 1_767_225_600_000
    assert event["event_id"] == str(UUID(int=7))
    assert event["price"] == 2.5


@pytest.mark.parametrize(("schema", "reason"), [
    (RECURSIVE, "unknown_schema"), (HOLLOW, "unknown_schema"), ({"type": "nonsense"},
    "unknown_schema"), ("string", "bad_avro"), (17, "unknown_schema")])
def test_a_strangers_schema_cannot_harm(schema: Any, reason: str) -> None:
    decoder = EventDecoder(registry=Registry(schema))
    for body in (b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x02" * 60_000, b"\x00"):
        fault = decoder.decode(frame(1, body))
        assert isinstance(fault, Fault) and fault.reason in (reason, "bad_avro"), fault


def test_an_id_that_the_registry_lacks_is_an_unknown_schema() -> None:
    fault = EventDecoder(registry=Registry()).decode(frame(9, b"x"))
    assert isinstance(fault, Fault) and fault.reason == "unknown_schema" and "9" in fault.detail
