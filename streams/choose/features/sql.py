"""SQL: the declared features once more, as ClickHouse expressions over the landed events.

In       specs
Out      per feature: its value as an aggregate over the events that a moment had before it
Keeps    -
Refuses  -
Time     the moment's

The same meaning as `layout`, `updating` and `reading` give, told a third time and independently:
tiles, horizon, fixed point where it can be seen. The frame (which moments, which events) belongs to
whoever asks; it offers, per event,

    counted          the row heard the event and may use it
    event_type, event_ms, value_micros, thousandths (of quantity), items, FILTERS, properties_json,
    at_offset
    moment_ms        the moment that is asked about

and evaluates `Recount.marks` over a window of one moment before it groups by moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.choose.features.layout import (
    DECAY_HALF_LIVES,
    DECAY_TILES,
    DECAY_UNITS,
    DECAY_UNITS_WIDE,
    EVER_MS,
    HLL_REGISTERS,
    HLL_TILES,
    scale_of,
)
from streams.choose.features.names import TEXT_BYTES
from streams.choose.features.properties import MILLION, NUMBER_MAX
from streams.choose.features.sessions import WORD_SLOTS, words_of
from streams.choose.features.spec import (
    EXACT_DISTINCT_MAX,
    GAP_SLOTS,
    OF_TEXTS,
    PROPERTY,
    SESSION_TILES,
    FeatureSpec,
)
from streams.choose.features.texts import ROOM, TEXT_TILES
from streams.choose.features.updating import ROOT
from streams.engine.whole import GREATEST
from streams.kernel.moments import DAY_MS, HOUR_MS, show_span

# An estimate of m registers has a standard error of 1.04 / sqrt(m): three of them.
DISTINCT_TOLERANCE = round(3 * 1.04 / HLL_REGISTERS ** 0.5, 2)
_COLUMN = {"value": "value_micros", "quantity": "thousandths"}


@dataclass(frozen=True, slots=True)
class Expression:
    """One feature as SQL.

    value      Nullable(Float64): NULL where reading gives no value. Of texts 0, and `logged` in
               how many places those of the decision differ
    logged     of texts, Nullable(Float64) over `features_json`; '' of numbers
    tolerance  Float64: by how much the online value may differ, 0 where it is exact
    reach_ms   how far before the moment an event may lie and still count; EVER_MS: any
    """

    name: str
    value: str
    tolerance: str
    reach_ms: int
    logged: str = ""


@dataclass(frozen=True, slots=True)
class Recount:
    """`marks`: columns of the events, over the window `moment`, that the expressions use.

    recent_ids   an event is a repeat when its id is among this many of the person's before it. A
                 row remembers as many that were no repeats: the two may differ where repeats lie
                 between, which only ids can that admission took twice
    """

    marks: tuple[str, ...]
    expressions: tuple[Expression, ...]
    recent_ids: int


class _Marks:
    """The columns that features share, each once, in the order they are needed."""

    def __init__(self, *, wide: bool = False) -> None:
        self.wide = wide
        self.found: dict[str, str] = {}
        self._numbers: dict[tuple[str, tuple[str, ...], str, str], int] = {}
        self._properties: dict[str, str] = {}

    def number(self, spec: FeatureSpec) -> int:
        """Of the columns own_<n>: is the event the feature's own? and newest_<n>: the time of the
        newest of these, 0 when there is none."""
        key = (spec.event, spec.where, spec.number, spec.text_of)
        if key in self._numbers:
            return self._numbers[key]
        n = self._numbers[key] = len(self._numbers) + 1
        tests = ["counted"]
        if spec.event != "*":
            tests.append(f"event_type = {literal(spec.event)}")
        if spec.where:
            tests.append(f"{self._text(spec.where[0])} = {literal(spec.where[1])}")
        if spec.number:
            tests.append(self.amount(spec.number).replace("amount_", "is_told_"))
        if spec.text_of:
            tests.append(f"notEmpty({self.texts(spec.text_of)})")
        self.found[f"own_{n}"] = " AND ".join(tests)
        self.found[f"newest_{n}"] = f"maxIf(event_ms, own_{n}) OVER moment"
        return n

    def texts(self, field: str) -> str:
        """The column of the texts that an event has in `field`, each once."""
        text = self._text(field)
        self.found[f"texts_{text}"] = ("arrayDistinct(items)" if field == "item_id"
                                       else f"if({text} = '', [], [{text}])")
        return f"texts_{text}"

    def _text(self, field: str) -> str:
        """The column of a field's text; of a property see `properties.told_text`."""
        if not field.startswith(PROPERTY):
            return field
        column, name = self._column("property", field), literal(field.removeprefix(PROPERTY))
        kind = f"JSONType(properties_json, {name})"
        self.found[column] = (
            f"multiIf({kind} = 'String', JSONExtractString(properties_json, {name}), "
            f"{kind} = 'Bool', if(JSONExtractBool(properties_json, {name}), 'true', 'false'), "
            f"{kind} IN ('Int64', 'UInt64'), JSONExtractRaw(properties_json, {name}), '')")
        return column

    def amount(self, source: str) -> str:
        """The column of what is added up; of a property beside it is_told_<n>: has it a number?"""
        if not source.startswith(PROPERTY):
            return _COLUMN[source]
        column, name = self._column("amount", source), literal(source.removeprefix(PROPERTY))
        number = f"JSONExtractFloat(properties_json, {name})"
        self.found[column.replace("amount_", "is_told_")] = (
            f"JSONType(properties_json, {name}) IN ('Int64', 'UInt64', 'Double') "
            f"AND abs({number}) <= {NUMBER_MAX:.0f}")
        self.found[column] = f"if({column.replace('amount_', 'is_told_')}, " \
                             f"toInt64(floor({number} * {MILLION} + 0.5)), 0)"
        return column

    def _column(self, what: str, field: str) -> str:
        """A name for what is read of a property; that of the property may be no name in SQL."""
        n = self._properties.setdefault(field, str(len(self._properties) + 1))
        return f"{what}_{n}"

    def inside(self, spec: FeatureSpec, tile_ms: int, tiles: int) -> str:
        """The column that holds for own events in tiles that the row still has and the moment
        looks at."""
        n = self.number(spec)
        name = f"in_{n}_{tiles}x{show_span(tile_ms)}"
        self.found[name] = (
            f"own_{n} AND intDiv(event_ms, {tile_ms}) BETWEEN "
            f"intDiv(greatest(moment_ms, newest_{n}), {tile_ms}) - {tiles - 1} "
            f"AND intDiv(moment_ms, {tile_ms})")
        return name


def recount(specs: Iterable[FeatureSpec], *, recent_ids: int = 16, wide: bool = False) -> Recount:
    """The expressions of `specs`, in their order. `wide`: as rows of groups and things are read.

    They refer to each other's value as `f_<name>`, and to a tolerance that is not 0 as `t_<name>`.
    """
    marks, known = _Marks(wide=wide), dict[str, tuple[FeatureSpec, Expression]]()
    for spec in specs:
        made = (_ratio(spec, [known[part] for part in spec.of], marks) if spec.kind == "ratio"
                else _plain(spec, marks))
        known[spec.name] = spec, made
    return Recount(tuple(f"{text} AS {name}" for name, text in marks.found.items()),
                   tuple(expression for _, expression in known.values()), recent_ids)


def literal(text: str) -> str:
    """`text` as a string of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _plain(spec: FeatureSpec, marks: _Marks) -> Expression:
    value, tolerance, reach_ms, logged = (
        _of_texts(spec, marks) if spec.kind in OF_TEXTS else (*_of_kind(spec, marks), ""))
    if spec.max_age_ms:
        value = f"if({_is_stale(marks.number(spec), spec.max_age_ms)}, NULL, {value})"
    return Expression(spec.name, value, tolerance, reach_ms, logged)


def _sum(column: str, inside: str) -> str:
    """The sum of whole numbers, as far as a row has room for it."""
    return _full(f"sumIf(toInt128({column}), {inside})")


def _full(total: str) -> str:
    return f"toInt64(least(greatest({total}, toInt128(-{GREATEST})), toInt128({GREATEST})))"


def _is_stale(number: int, max_age_ms: int) -> str:
    """What was never heard has no age, and is not too old either."""
    newest = f"any(newest_{number})"
    return f"{newest} > 0 AND moment_ms - {newest} > {max_age_ms}"


def _of_kind(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    """(value, tolerance, reach) of anything but a ratio, its maximum age left aside."""
    own, newest = f"own_{marks.number(spec)}", f"any(newest_{marks.number(spec)})"
    if spec.kind == "lifetime":
        return f"countIf({own})", "0", EVER_MS
    if spec.kind == "since":
        return (f"if({newest} = 0, NULL, greatest(0, moment_ms - {newest}) / {DAY_MS})", "0",
                EVER_MS)
    if spec.kind == "mean_gap":
        return (f"if(countIf({own}) < 2, NULL, ({newest} - minIf(event_ms, {own})) / "
                f"(countIf({own}) - 1) / {DAY_MS})", "0", EVER_MS)
    if spec.kind in ("first", "last"):
        pick = "argMinIf" if spec.kind == "first" else "argMaxIf"
        column, scale = marks.amount(spec.of[0]), scale_of(spec.of[0])
        # Groups know no order but that of time: of two events at one time the number decides.
        then = column if marks.wide else "at_offset"
        return (f"if({newest} = 0, NULL, {pick}({column}, (event_ms, {then}), {own}) / {scale})",
                "0", EVER_MS)
    if spec.kind == "decay":
        return _decay(spec, marks)
    if spec.kind == "distinct":
        return _distinct(spec, marks)
    if spec.kind == "sessions":
        return _sessions(spec, marks)
    if spec.kind == "session":
        return _session(spec, marks)
    if spec.kind == "rfm":
        return _rfm(spec, marks)
    return _windowed(spec, marks)


def _windowed(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    tile_ms, tiles = spec.window_tiles()
    inside = marks.inside(spec, tile_ms, tiles)
    column, scale = (marks.amount(spec.of[0]), scale_of(spec.of[0])) if spec.of else ("", 1)
    count = f"countIf({inside})"
    mean = f"{_sum(column, inside)} / {scale} / nullIf({count}, 0)"
    value = {
        "count": count,
        "rate": f"{count} * {HOUR_MS} / {spec.window_ms or 1}",
        "sum": f"{_sum(column, inside)} / {scale}",
        "mean": mean,
        "min": f"minOrNullIf({column}, {inside}) / {scale}",
        "max": f"maxOrNullIf({column}, {inside}) / {scale}",
        "variance": _variance(column, inside, count, mean),
    }[spec.kind]
    return value, "0", tiles * tile_ms


def _variance(column: str, inside: str, count: str, mean: str) -> str:
    """Mean of squares less square of mean; squares of money are kept in hundredths, rounded down,
    those of quantities in thousandths. No greater than what has a square."""
    unit, number = ((1000, column) if column == "thousandths" else
                    (100, f"intDiv({column}, 10000) - ({column} % 10000 < 0)"))
    number = f"least(greatest({number}, -{ROOT}), {ROOT})"
    squares = f"{_sum(f'{number} * {number}', inside)} / {unit} / {unit} / {count}"
    return f"if({count} = 0, NULL, greatest({squares} - ({mean}) * ({mean}), 0))"


def _decay(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    """Weights are added in fixed point: each event may be off by half a unit. An event weighs most
    at the end of its tile, which may be full there."""
    tile_ms = DECAY_HALF_LIVES * spec.half_life_ms
    inside = marks.inside(spec, tile_ms, DECAY_TILES)
    scale = (scale_of(spec.of[0]) if spec.of else
             DECAY_UNITS_WIDE if marks.wide else DECAY_UNITS)
    amount = marks.amount(spec.of[0]) if spec.of else str(scale)
    parts = []
    for back in range(DECAY_TILES):
        tile = f"(intDiv(moment_ms, {tile_ms}) - {back})"
        total = (f"sumIf({amount} * exp2((event_ms - {tile} * {tile_ms}) / {spec.half_life_ms}), "
                 f"{inside} AND intDiv(event_ms, {tile_ms}) = {tile})")
        parts.append(f"least(greatest({total}, -{GREATEST}.), {GREATEST}.) "
                     f"* exp2(({tile} * {tile_ms} - moment_ms) / {spec.half_life_ms})")
    return (f"({' + '.join(parts)}) / {scale}", f"countIf({inside}) * 0.5 / {scale}",
            DECAY_TILES * tile_ms)


def _distinct(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    """Exact while the newest items that a row keeps hold all of the window; else estimated over
    coarse tiles."""
    tile_ms = spec.window_ms // (HLL_TILES - 1)
    kept, coarse = f"kept_{spec.name}", f"coarse_{spec.name}"
    items = "items" if spec.of in ((), ("item_id",)) else marks.texts(spec.of[0])
    times = (f"arraySlice(arrayReverseSort(maxMapIf({items}, arrayMap(item -> event_ms, {items}), "
             f"own_{marks.number(spec)}).2), 1, {EXACT_DISTINCT_MAX})")
    within = f"at -> moment_ms - {spec.window_ms} < at AND at <= moment_ms"
    estimated = f"uniqExactArrayIf({items}, {marks.inside(spec, tile_ms, HLL_TILES)}) AS {coarse}"
    value = (f"if((arrayCount({within}, {times}) AS {kept}) < {EXACT_DISTINCT_MAX}, {kept}, "
             f"greatest({estimated}, {EXACT_DISTINCT_MAX}))")
    return (value, f"if({kept} < {EXACT_DISTINCT_MAX}, 0, {DISTINCT_TOLERANCE} * {coarse})",
            HLL_TILES * tile_ms)


def _sessions(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    """Slots with an event in them, told apart where there are empty ones between."""
    slot_ms, slots = spec.session_slots()
    tile_ms, tiles, name = slot_ms * WORD_SLOTS, words_of(slots), f"slots_{spec.name}"
    inside = (f"{marks.inside(spec, tile_ms, tiles)} AND intDiv(event_ms, {slot_ms}) BETWEEN "
              f"intDiv(moment_ms, {slot_ms}) - {slots - 1} AND intDiv(moment_ms, {slot_ms})")
    found = f"arraySort(groupUniqArrayIf(intDiv(event_ms, {slot_ms}), {inside})) AS {name}"
    return (f"arrayCount(apart -> apart > {GAP_SLOTS}, arrayDifference({found})) + "
            f"notEmpty({name})", "0", tiles * tile_ms)


def _session(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    """The events of the ring's tiles, in order; the session begins after the last pause."""
    n, of, name = marks.number(spec), spec.of[0], f"session_{spec.name}"
    kept = (f"own_{n} AND intDiv(event_ms, {spec.gap_ms}) > intDiv(newest_{n}, {spec.gap_ms}) - "
            f"{SESSION_TILES}")
    amount = {"length": "0", "events": "1"}.get(of) or marks.amount(of)
    events = f"arraySort(groupArrayIf((event_ms, toInt128({amount})), {kept})) AS {name}"
    begin = (f"{name}[greatest(1, arrayLastIndex(apart -> apart >= {spec.gap_ms}, "
             f"arrayDifference({name}.1)))].1")
    value = (f"({name}[-1].1 - {begin})" if of == "length" else
             _full(f"arraySum(event -> event.2 * (event.1 >= {begin}), {name})"))
    return (f"if(empty({events}), NULL, {value} / {scale_of(of)})", "0", EVER_MS)


def _rfm(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int]:
    tile_ms, tiles = spec.window_tiles()
    inside, newest = marks.inside(spec, tile_ms, tiles), f"any(newest_{marks.number(spec)})"
    parts = (f"moment_ms - {newest} - 1", f"countIf({inside})",
             _sum(marks.amount(spec.of[0]), inside))
    late, often, much = (" + ".join(f"({part} >= {cut})" for cut in cuts)
                         for part, cuts in zip(parts, spec.cuts, strict=True))
    return (f"if({newest} = 0, NULL, 100 * (5 - ({late})) + 10 * (1 + {often}) + 1 + {much})", "0",
            EVER_MS)


def _of_texts(spec: FeatureSpec, marks: _Marks) -> tuple[str, str, int, str]:
    """(value, tolerance, reach, logged): whether the texts of the decision are those counted anew.

    A row keeps long texts cut, so they are not judged. Of more favourites than a row has room for
    it knows some by chance and estimates how often: the decision's must come to half of what the
    most frequent ones come to.
    """
    texts, own = marks.texts(spec.of[0]), f"own_{marks.number(spec)}"
    name, most = spec.name, spec.most
    said = (f"JSONExtract(features_json, {literal(name)}, 'value', 'Array(String)')"
            if spec.value_is == "texts" else
            f"arrayFilter(text -> text != '', [JSONExtractString(features_json, {literal(name)}, "
            "'value')])")
    differ = (f"arrayCount((a, b) -> a != b, arrayResize({said} AS said_{name}, {most}), "
              f"arrayResize(told_{name}, {most}))")
    longest = f"arrayMax(arrayPushBack(arrayMap(text -> length(text), all_{name}), 0))"
    if spec.kind == "unique_list":
        seen = (f"maxMapIf({texts}, arrayMap(text -> event_ms, {texts}), {own}) AS seen_{name}")
        ranked = (f"arraySlice(arraySort((text, at) -> (-at, text), ({seen}).1 AS all_{name}, "
                  f"seen_{name}.2), 1, {most})")
        told = (f"arrayFilter(text -> moment_ms - {spec.window_ms} < seen_{name}.2[indexOf("
                f"all_{name}, text)] AND seen_{name}.2[indexOf(all_{name}, text)] <= moment_ms, "
                f"{ranked})")
        tolerance, reach_ms = f"if({longest} > {TEXT_BYTES}, {most}, 0)", spec.window_ms
    else:
        tile_ms = spec.window_ms // (TEXT_TILES - 1)
        inside = marks.inside(spec, tile_ms, TEXT_TILES)
        seen = (f"sumMapIf({texts}, arrayMap(text -> toInt64(1), {texts}), {inside}) "
                f"AS seen_{name}")
        told = (f"arraySlice(arraySort((text, times) -> (-times, text), ({seen}).1 "
                f"AS all_{name}, seen_{name}.2), 1, {most})")
        # Names that may have been drawn in place of one in the window: up to a window older.
        rivals = (f"uniqExactArrayIf({texts}, {own} AND intDiv(event_ms, {tile_ms}) > intDiv("
                  f"greatest(moment_ms, newest_{marks.number(spec)}), {tile_ms}) - "
                  f"{2 * TEXT_TILES - 1})")
        heard = (f"arraySum(arrayMap(text -> seen_{name}.2[indexOf(all_{name}, text)], "
                 "{0}))")
        estimated = (f"if(2 * {heard.format('said_' + name)} >= {heard.format('told_' + name)}, "
                     f"{most}, 0.5)")
        tolerance = (f"multiIf({longest} > {TEXT_BYTES}, {most}, {rivals} <= {ROOM}, 0, "
                     f"{estimated})")
        reach_ms = TEXT_TILES * tile_ms
    value = f"if(empty({told} AS told_{name}), NULL, 0)"
    # That an estimate tells nothing where there is something is an error of the estimate.
    lacks = f"empty(said_{name}) AND (t_{name} = 0 OR empty(told_{name}))"
    return value, tolerance, reach_ms, f"if({lacks}, NULL, {differ})"


def _ratio(spec: FeatureSpec, parts: list[tuple[FeatureSpec, Expression]],
           marks: _Marks) -> Expression:
    a, b = spec.of
    value, tolerance = f"f_{a} / nullIf(f_{b}, 0)", "0"
    if spec.max_age_ms:
        stale = " OR ".join(f"({_is_stale(marks.number(part), spec.max_age_ms)})"
                            for part, _ in parts)
        value = f"if({stale}, NULL, {value})"
    if any(each.tolerance != "0" for _, each in parts):
        # a ± s divided by b ± t lies within (s + |a / b| t) / (|b| - t) of a / b.
        s, t = (each.tolerance if each.tolerance == "0" else f"t_{each.name}" for _, each in parts)
        tolerance = (f"if({s} + {t} = 0, 0, ifNull(({s} + abs(f_{a} / f_{b}) * {t}) / "
                     f"greatest(abs(f_{b}) - {t}, 0), 0))")
    return Expression(spec.name, value, tolerance, max(each.reach_ms for _, each in parts))
