"""Properties: what features ask of the free properties that an event carries as one JSON object.

Read before the kernel runs, and only where a feature asks. A text is told as it is, true and false
as these words, a whole number by its digits; anything else is no text. A number that can be counted
with is kept in millionths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from streams.choose.features.layout import Layout
from streams.choose.features.names import name_of
from streams.choose.features.spec import PROPERTY
from streams.engine.hashing import signed_hash

NUMBER_MAX = 1e12
MILLION = 1_000_000


def told_text(value: Any) -> str:
    """A property's text; '' where it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else ""


def told_millionths(value: Any) -> int | None:
    """A property's number in millionths; None where it has none, or one beyond NUMBER_MAX."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > NUMBER_MAX:
        return None
    return math.floor(value * MILLION + 0.5)


class Properties:
    """The properties that the features of `layout` ask for.

    width   fields that stand behind those which events have as columns: of each property that is
            filtered by a hash, then of each number whether it is told (1) and its millionths
    """

    def __init__(self, layout: Layout) -> None:
        self._where = [_name(field) for field in layout.where_fields if field.startswith(PROPERTY)]
        self._hashes = {spec.where[1]: signed_hash(spec.where[1])
                        for spec in layout.specs if spec.where}
        self._numbers = [_name(field) for field in layout.numbers]
        self._texts = [(k, _name(field)) for k, field in enumerate(layout.text_fields)
                       if field.startswith(PROPERTY)]
        self.width = len(self._where) + 2 * len(self._numbers)
        self.are_asked = bool(self.width or self._texts)

    def read(self, count: int, events: Iterable[tuple[int, bytes]],
             ) -> tuple[npt.NDArray[np.int64], list[tuple[int, int, tuple[int, ...]]]]:
        """(fields of `count` events; (event, place among text fields, name) of every text).

        `events`: (number, properties as JSON) of those that carry any.
        """
        fields, names = np.zeros((count, self.width), np.int64), []
        for n, stored in events:
            found = _object(stored)
            for k, name in enumerate(self._where):
                fields[n, k] = self._hashes.get(told_text(found.get(name)), 0)
            for k, name in enumerate(self._numbers):
                number = told_millionths(found.get(name))
                if number is not None:
                    at = len(self._where) + 2 * k
                    fields[n, at], fields[n, at + 1] = 1, number
            names += [(n, k, name_of(text)) for k, name in self._texts
                      if (text := told_text(found.get(name)))]
        return fields, names


def _name(field: str) -> str:
    return field.removeprefix(PROPERTY)


def _object(stored: bytes) -> dict[str, Any]:
    """What admission wrote is one object; of anything else nothing is told."""
    try:
        found = orjson.loads(stored)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
