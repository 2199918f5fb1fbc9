"""A replay mapping: how the rows of somebody's file become events. Frozen; loading is in `loading`.

Read it as a sentence: rows of this kind of file, except those left out, are events of this type, at
this time, by this person, with these fields; rows with the same key are one event with lines.
docs/replay.md describes every key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streams.worlds.conditions import Condition
from streams.worlds.times import TimeRule
from streams.worlds.values import Numbers, Value

TEXT_FIELDS = ("user_id", "anonymous_id", "item_id", "category", "cart_id", "order_id", "query",
               "currency", "decision_id", "channel")
NUMBER_FIELDS = ("quantity", "price", "value")
FIELDS = (*TEXT_FIELDS, *NUMBER_FIELDS)
PURPOSES = ("measure", "personalise", "contact", "train")


@dataclass(frozen=True, slots=True)
class FileForm:
    """How the file is written. Empty means: by the file's name and content."""

    form: Literal["", "csv", "jsonl", "parquet"] = ""
    delimiter: str = ""
    encoding: str = "utf-8"
    quote: str = '"'
    columns: tuple[str, ...] = ()
    skip_lines: int = 0
    row_bytes_max: int = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """`when` holds: the row is of `word` (an event type, or the reason to leave it out)."""

    when: Condition
    word: str


@dataclass(frozen=True, slots=True)
class TypeRule:
    """The event type: the first rule that holds, else by `column` and `values`, else `otherwise`.

    otherwise   an event type, or "" to reject the row with unknown_type
    """

    rules: tuple[Rule, ...] = ()
    column: str = ""
    values: tuple[tuple[str, str], ...] = ()
    otherwise: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class LineRule:
    """Lines of purchases and refunds: one from each row, or many from a nested `items` list.

    total   what the whole line cost; the unit price is total / quantity
    """

    item_id: Value
    quantity: Value
    price: Value | None = None
    total: Value | None = None
    items: str = ""
    types: tuple[str, ...] = ("purchase", "refund")


@dataclass(frozen=True, slots=True)
class GroupRule:
    """Rows of `types` with equal `by` columns are one event.

    same   columns in which all rows of a group must agree with its first; others are rejected
    time   whether the group happened at its first or last row's time
    """

    by: tuple[str, ...]
    same: tuple[str, ...] = ()
    time: Literal["first", "last"] = "first"
    types: tuple[str, ...] = ("purchase", "refund")
    line: int = 0


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """What the file's owner claims that people agreed to, and by what right.

    on   first: said once, with each person's first event; every: with each event
    """

    grant: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    basis: str = "consent"
    on: Literal["first", "every"] = "first"


@dataclass(frozen=True, slots=True)
class CatalogueRule:
    """Item facts found in the rows themselves.

    facts   which row's facts count for an item: the first or the last in time
    as_of   start: true when the history begins; seen: true since the row they are taken from
    restate_ms   say the facts again, as of then, each time so much virtual time has passed; 0 never
    """

    item_id: Value
    title: Value
    price: Value
    category: Value | None = None
    url: Value | None = None
    facts: Literal["first", "last"] = "first"
    as_of: Literal["start", "seen"] = "start"
    restate_ms: int = 0


@dataclass(frozen=True, slots=True)
class Mapping:
    """A validated mapping. `missing_customer`: keep, reject, or anonymous (from `anonymous`)."""

    file: str
    name: str
    tenant: str
    source: str
    time: TimeRule
    type: TypeRule
    fields: tuple[tuple[str, Value], ...]
    form: FileForm = field(default_factory=FileForm)
    blanks: frozenset[str] = frozenset({""})
    numbers: Numbers = field(default_factory=Numbers)
    explode: str = ""
    leave_out: tuple[Rule, ...] = ()
    properties: tuple[tuple[str, Value], ...] = ()
    traits: tuple[tuple[str, Value], ...] = ()
    lines: LineRule | None = None
    group: GroupRule | None = None
    missing_customer: Literal["keep", "reject", "anonymous"] = "keep"
    anonymous: Value | None = None
    consent: ConsentRule | None = None
    event_id: Value | None = None
    duplicates: Literal["same", "distinct"] = "same"
    catalogue: CatalogueRule | None = None

    def columns(self) -> dict[str, int]:
        """Every column the mapping reads, with the line that first names it."""
        found: dict[str, int] = {}
        for name, line in self._named():
            found.setdefault(name, line)
        return found

    def _named(self) -> list[tuple[str, int]]:
        values = [value for _, value in (*self.fields, *self.properties, *self.traits)]
        values += [value for value in (self.anonymous, self.event_id) if value is not None]
        named = [(column, self.time.line) for column in self.time.columns]
        for rule in (*self.leave_out, *self.type.rules):
            named += [(column, rule.when.line) for column in rule.when.columns()]
        if self.type.column:
            named.append((self.type.column, self.type.line))
        if self.lines is not None:
            if self.lines.items:
                named.append((self.lines.items, self.lines.item_id.line))
            else:
                values += [v for v in (self.lines.item_id, self.lines.quantity, self.lines.price,
                                       self.lines.total) if v is not None]
        if self.group is not None:
            named += [(column, self.group.line) for column in (*self.group.by, *self.group.same)]
        if self.catalogue is not None:
            values += [v for v in (self.catalogue.item_id, self.catalogue.title,
                                   self.catalogue.price, self.catalogue.category,
                                   self.catalogue.url) if v is not None]
        return named + [(name, v.line) for v in values for name in v.columns()
                        if name not in ("line", "content")]
