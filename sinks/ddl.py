"""Prints the DDL of landing tables and their views from the contracts.

`python -m sinks.ddl landing` and `python -m sinks.ddl views` made the migrations; a test compares
what the migrations built with what the contracts say, column by column, comments included. When a
contract grows, print again, and put the difference into a new migration: old ones are never edited.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sinks.topics import LANDINGS, Landing

_TYPES: Final = {"string": "String", "int": "Int32", "long": "Int64", "double": "Float64",
                 "boolean": "Bool", "bytes": "String"}

# Few distinct values by nature; everything else that is a string stays one.
_FEW: Final = frozenset({
    "tenant", "source", "event_type", "category", "currency", "locale", "country", "timezone",
    "playbook", "trigger", "conversion", "arm", "policy_version", "segment", "channel", "rung",
    "model", "status", "reason", "kind", "stage", "outcome", "field", "topic", "price_book",
    "result", "purpose", "origin", "basis", "cause", "name", "entity", "caveat"})

_APPENDED: Final = "fromUnixTimestamp64Milli(_appended_ms, 'UTC')"

OWN_COLUMNS: Final[dict[str, tuple[str, str]]] = {
    "_topic_id": ("LowCardinality(String)", "Kafka's id of the topic; changes when the topic is "
                  "deleted and made again"),
    "_partition": ("UInt32", "Kafka partition the record stood in"),
    "_offset": ("UInt64", "Kafka offset of the record in that partition"),
    "_appended_ms": ("Int64", "Kafka's timestamp of the record, milliseconds since 1970 UTC"),
}

_JSON_HINTS: Final = {
    "lines_json": "JSONExtract(lines_json, 'Array(Tuple(String, Float64, Int64))')",
    "properties_json": "JSONExtractString(properties_json, 'name')",
    "propensities_json": "JSONExtract(propensities_json, 'Map(String, Float64)')",
    "segments_json": "JSONExtract(segments_json, 'Array(String)')",
    "features_json": "JSONExtractFloat(features_json, 'name', 'value')",
    "evidence_json": "JSONExtractRaw(evidence_json)",
    "item_ids_json": "JSONExtract(item_ids_json, 'Array(String)')",
    "facts_json": "JSONExtractKeysAndValuesRaw(facts_json)",
    "brief_json": "JSONExtractKeysAndValuesRaw(brief_json)",
    "gates_json": "JSONExtractKeysAndValuesRaw(gates_json)",
    "arms_json": "JSONExtractInt(arms_json, 'arm', 'trials')",
    "sums_json": "JSONExtract(sums_json, 'Map(String, Float64)')",
    "values_json": "JSONExtract(values_json, 'name', 'value', 'Nullable(Float64)')",
    "attributes_json": "JSONExtractString(attributes_json, 'name')",
}


@dataclass(frozen=True, slots=True)
class Column:
    """`alias` is the expression of a computed column, "" for a stored one."""

    name: str
    type: str
    comment: str
    alias: str = ""


def quoted(text: str) -> str:
    """`text` as a ClickHouse string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _type_of(name: str, avro: Any) -> str:
    if isinstance(avro, list):
        avro = next(part for part in avro if part != "null")
    found = _TYPES[avro]
    return f"LowCardinality({found})" if found == "String" and name in _FEW else found


def _comment_of(name: str, doc: str) -> str:
    hint = _JSON_HINTS.get(name)
    return f"{doc} Read it with {hint}." if hint else doc


def stored_columns(landing: Landing) -> list[Column]:
    """What the sink writes: the contract's fields, less what is withheld, and the address."""
    fields = landing.contract.fields
    columns = [Column(name, _type_of(name, field["type"]), _comment_of(name, field["doc"]))
               for name, field in fields.items() if name not in landing.withheld]
    columns += [Column(f"{name}_bytes", "UInt32", f"Size of `{name}`, which stays in Kafka: "
                       "it may hold personal data.") for name in landing.withheld]
    return columns + [Column(name, kind, comment)
                      for name, (kind, comment) in OWN_COLUMNS.items()]


def time_columns(landing: Landing) -> list[Column]:
    """A DateTime64 beside every moment in milliseconds (spans such as took_ms are no moments)."""
    spans = ("window_ms", "took_ms")
    return [Column(name[:-3] + "_at", "DateTime64(3, 'UTC')",
                   f"{field['doc'].rstrip('.')}, as a time.",
                   f"fromUnixTimestamp64Milli({name}, 'UTC')")
            for name, field in landing.contract.fields.items()
            if name.endswith("_ms") and name not in spans and name not in landing.withheld]


def retention_days(landing: Landing) -> int:
    """Days that the contract allows: the longest of its fields (`P90D`, `P3Y`)."""
    units = {"D": 1, "Y": 365}
    spans = (field["retention"] for field in landing.contract.fields.values())
    return max(int(span[1:-1]) * units[span[-1]] for span in spans)


def _declared(column: Column) -> str:
    alias = f" ALIAS {column.alias}" if column.alias else ""
    return f"    `{column.name}` {column.type}{alias} COMMENT {quoted(column.comment)}"


def landing_ddl(landing: Landing) -> str:
    columns = ",\n".join(map(_declared, [*stored_columns(landing), *time_columns(landing)]))
    key = ", ".join([*landing.key, "_partition", "_offset"])
    about = (f"Landing of {landing.topic}: one row per Kafka record, repeats included; "
             f"ask the view {landing.view} instead.")
    return (f"CREATE TABLE IF NOT EXISTS {landing.table}\n(\n{columns}\n)\nENGINE = MergeTree\n"
            f"PARTITION BY toYYYYMM({_APPENDED})\nORDER BY ({key})\n"
            f"TTL toDateTime({_APPENDED}) + INTERVAL {retention_days(landing)} DAY\n"
            "SETTINGS non_replicated_deduplication_window = 10000\n"
            f"COMMENT {quoted(about)};")


def view_columns(landing: Landing) -> list[Column]:
    return [c for c in [*stored_columns(landing), *time_columns(landing)]
            if c.name not in OWN_COLUMNS]


def view_ddl(landing: Landing) -> str:
    """One row per thing: of a repeated emission the lowest offset wins, merged or not."""
    columns = ",\n".join(f"    `{c.name}` {c.type} COMMENT {quoted(c.comment)}"
                         for c in view_columns(landing))
    names = ", ".join(f"`{c.name}`" for c in view_columns(landing))
    key = ", ".join(landing.key)
    order = landing.newest or "_partition, _offset"
    only = f"WHERE {landing.only}\n" if landing.only else ""
    doc = landing.contract.source["doc"]
    return (f"CREATE OR REPLACE VIEW {landing.view}\n(\n{columns}\n)\nAS SELECT {names}\n"
            f"FROM {landing.table}\n{only}ORDER BY {key}, {order}\nLIMIT 1 BY {key}\n"
            f"COMMENT {quoted(doc)};")


def statements(kind: str) -> Iterator[str]:
    make = {"landing": landing_ddl, "views": view_ddl}[kind]
    return (make(landing) for landing in LANDINGS)


if __name__ == "__main__":
    print("\n\n".join(statements(sys.argv[1])))
