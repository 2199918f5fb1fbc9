"""How much room the declared features take in the rows that are kept, as `kairos plan` shows."""

from __future__ import annotations

from dataclasses import dataclass

from streams.choose.definitions import Definitions
from streams.choose.definitions.form import ROW_BYTES_MAX
from streams.choose.features.layout import Layout
from streams.choose.features.room import Room, rooms_of
from streams.choose.features.spec import PROFILE
from streams.choose.program import Program


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `bytes`: those of the features, and `head`, which no feature asks for.

    most   bytes that it may have; 0: of things it is `keep` times `bytes` that has an end
    keep   rows per tenant and partition; 0: of people there is one each
    """

    of: str
    bytes: int
    most: int
    keep: int
    head: int
    features: tuple[Room, ...]


def rows_of(found: Definitions) -> tuple[Row, tuple[Row, ...]]:
    """(a person's row, a row of each entity's things)."""
    layout = Program(found.features, found.segments, entities=found.entities).people
    return (_row(PROFILE, layout, most=ROW_BYTES_MAX),
            tuple(_row(each.name, each.layout, keep=each.keep,
                       declared={spec.name for spec in each.features})
                  for each in found.entities))


def _row(of: str, layout: Layout, *, most: int = 0, keep: int = 0,
         declared: set[str] | None = None) -> Row:
    rooms = tuple(room for room in rooms_of(layout) if declared is None or room.name in declared)
    return Row(of, layout.row_bytes, most, keep,
               layout.row_bytes - sum(room.bytes for room in rooms), rooms)
