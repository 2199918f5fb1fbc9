"""SQL: which things an event names, once more, as ClickHouse expressions over the landed events.

The same meaning as `tally` gives, told independently. The frame (which events) belongs to whoever
asks; it offers, per event, item_id, category, properties_json, value_micros, thousandths (of
quantity) and `order_lines`, the lines_json as Array(Tuple(String, Float64, Int64)).
"""

from __future__ import annotations

from typing import Final

from streams.choose.entities.spec import CATEGORY, ITEM, EntitySpec
from streams.choose.entities.tally import AMOUNT_MAX, NAME_CHARS_MAX, NAMES_MAX
from streams.choose.features.layout import SCALE
from streams.choose.features.sql import literal


def _whole(amount: str) -> str:
    """Rounded, and no larger than what an event may say of itself."""
    most = f"toFloat64({AMOUNT_MAX})"
    return f"toInt64(roundBankers(least(greatest({amount}, -{most}), {most})))"


_UNITS: Final = str(SCALE["quantity"])
_AMOUNTS: Final = "value_micros, thousandths"
_OF_LINES: Final = (
    f"arrayMap(line -> (line.1, {_whole('line.2')}, {_whole('line.3 * ' + _UNITS)}), "
    "arraySlice(arraySort(line -> (-line.2, line.1), arrayMap(item -> (item, "
    "arraySum(line -> if(line.1 = item, line.2 * line.3, 0), order_lines), "
    "arraySum(line -> if(line.1 = item, line.2, 0), order_lines)), "
    f"arrayDistinct(arrayMap(line -> line.1, order_lines)))), 1, {NAMES_MAX}))")


def naming(spec: EntitySpec) -> str:
    """Array(Tuple(name, micro-units, thousandths)): the things of the entity that an event names,
    each with its own amounts."""
    if spec.name == ITEM:
        return f"if(empty(order_lines), {_one('item_id')}, {_OF_LINES})"
    if spec.name == CATEGORY:
        return _one("category")
    name = literal(spec.property_name)
    text = f"JSONExtractString(properties_json, {name})"
    return (f"if(JSONType(properties_json, {name}) = 'String' "
            f"AND lengthUTF8({text}) <= {NAME_CHARS_MAX}, {_one(text)}, [])")


def _one(text: str) -> str:
    return f"if({text} = '', [], [({text}, {_AMOUNTS})])"
