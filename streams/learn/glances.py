"""Glances: does this event concern any decision? Most do not, and are not read in full.

In       a batch of the stage's records
Out      for each the few fields that tell whether it can convert; None: read it in full
Keeps    nothing
Refuses  nothing
Time     none
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from schemas import contract
from streams.engine.avro_columns import ColumnDecoder
from streams.engine.records import Record, Stretch
from streams.pipeline import ADMITTED

FEW: Final = 16      # so many events are sooner read one by one than laid out in columns
_TEXTS: Final = ("tenant", "event_type")
_NUMBERS: Final = ("purposes", "origin_partition", "origin_offset", "origin_sequence")

Glance = dict[str, Any]     # the fields of _TEXTS and _NUMBERS


class Glances:
    """Reads batches. Compiles its decoder when the first batch that is worth it comes."""

    def __init__(self) -> None:
        kind = contract(ADMITTED)
        self._decoder = ColumnDecoder(kind.source, kind.prefix)
        self._texts = [self._decoder.fields[name] for name in _TEXTS]
        self._numbers = [self._decoder.fields[name] for name in _NUMBERS]

    def of(self, batch: Sequence[Record]) -> list[Glance | None]:
        """One for each record; None for other topics, watermarks, and what is not plain ASCII."""
        found: list[Glance | None] = [None] * len(batch)
        if isinstance(batch, Stretch):
            places = list(range(len(batch))) if batch.topic == ADMITTED else []
            values = batch.values if places else []
        else:
            places = [at for at, record in enumerate(batch) if record.topic == ADMITTED]
            values = [batch[at].value for at in places]
        if len(places) >= FEW:
            for at, glance in zip(places, self._read(values), strict=True):
                found[at] = glance
        return found

    def _read(self, values: Sequence[bytes]) -> list[Glance | None]:
        columns = self._decoder.decode(values)
        raw = columns.raw.tobytes()
        fit = (columns.mine & columns.good & columns.plain).tolist()
        starts, sizes = columns.numbers[:, self._texts].tolist(), columns.sizes[:, self._texts]
        names = _TEXTS + _NUMBERS
        return [
            dict(zip(names, (*(raw[at:at + size].decode("ascii")
                               for at, size in zip(begin, length, strict=True)), *rest),
                     strict=True)) if is_fit else None
            for is_fit, begin, length, rest in zip(
                fit, starts, sizes.tolist(), columns.numbers[:, self._numbers].tolist(),
                strict=True)]
