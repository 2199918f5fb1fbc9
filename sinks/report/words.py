"""Figures in words: how the report writes numbers, shares, spans and money. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sinks.report.charts import number_text

NOTHING = "–"
Show = Callable[[Any], str]
Column = str | tuple[str, Show]


def either(value: Any, show: Show) -> str:
    """`value` as shown, a dash when there is none."""
    return NOTHING if value is None else show(value)


def share(value: float) -> str:
    return f"{value * 100:.1f} %"


def percent_points(value: float) -> str:
    return f"{value * 100:+.2f}"


def interval(low: float | None, high: float | None, show: Show = percent_points) -> str:
    if low is None or high is None:
        return NOTHING
    return f"[{show(low)}, {show(high)}]"


def duration(value_ms: float) -> str:
    """A span of time to about two digits: 31 ms, 1.4 s, 3.2 d."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if value_ms >= unit_ms:
            return f"{value_ms / unit_ms:.1f} {unit}"
    return f"{value_ms:.0f} ms"


def usd(value: float) -> str:
    """Dollars, with enough places to see a small sum."""
    return f"${value:,.2f}" if abs(value) >= 1 or value == 0 else f"${value:.4f}"


def few(people: int | None) -> str:
    """A number of people; None is one too small to be shown."""
    return "too few to show" if people is None else number_text(people)


def amount(count: float, noun: str) -> str:
    return f"{number_text(count)} {noun}{'' if count == 1 else 's'}"


def split_words(split: Mapping[str, Any]) -> tuple[str, ...]:
    """Verdict, treated, held out, expected and p of a sample-ratio check."""
    return ("as designed" if split["holds"] else "NOT as designed: distrust the effect",
            number_text(split["treated"]), number_text(split["held_out"]),
            f"{split['held_out_expected']:,.1f}", f"{split['p']:.3g}")


def treated_words(left: Mapping[str, int]) -> str:
    """What those not held out were, by what left the house: `exit` of a world."""
    if not left["shadow"]:
        return "messaged"
    return "to message" if left["sent"] else "to message, had it not been in shadow mode"


def shadow_words(left: Mapping[str, int]) -> str:
    """What shadow mode kept back; empty when nothing."""
    if not left["shadow"]:
        return ""
    return (f"{amount(left['shadow'], 'message')} in shadow mode: written and checked, not sent; "
            f"{number_text(left['sent'])} sent")


def caused_row(world: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    """A world's `incremental`: units, converted, caused, its interval, dollars per caused."""
    return (world, number_text(found["treated_units"]), number_text(found["converted"]),
            either(found["caused"], _whole),
            interval(found["caused_low"], found["caused_high"], _whole),
            either(found["usd_per_caused_conversion"], usd))


DRIFT_COLUMNS = ("world", "feature", "compared", "differ", "one side only", "estimates",
                 "beyond error", "greatest", "skew", "not told")


def drift_row(world: str, feature: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    """A feature's figures as `sinks.report.drift` counts them, under DRIFT_COLUMNS."""
    counts = ("compared", "mismatch", "missing", "estimated", "estimated_off")
    return (world, feature, *(number_text(told[name]) for name in counts),
            f"{told['greatest']:.3g}", skew(told),
            number_text(told["gone"] + told["merged"] + told["not_logged"]))


FIGURE_COLUMNS = ("world", "playbook", "figure", "choices", "could", "did", "values", "oldest",
                  "closed with", "converted", "closed without", "converted")


def figure_rows(worlds: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What messages stated of items, under FIGURE_COLUMNS: of how many that could, with which
    values, and what share converted with it and without."""
    return [(world, row["playbook"], row["figure"],
             *(number_text(row[name]) for name in ("choices", "could", "did")),
             f"{number_text(row['lowest'])} to {number_text(row['highest'])}" if row["did"]
             else NOTHING, duration(row["oldest_ms"]) if row["did"] else NOTHING,
             *_of_closed(row["with_it"], row["with_converted"]),
             *_of_closed(row["without_it"], row["without_converted"]))
            for world, found in worlds.items() for row in found["figures"]]


def _of_closed(closed: int, converted: int) -> tuple[str, str]:
    return number_text(closed), share(converted / closed) if closed else NOTHING


def skew(told: Mapping[str, Any]) -> str:
    """The mean difference, with its sign."""
    return f"{told['skew']:+.2g}" if told["skew"] else "0"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def rows_of(worlds: Mapping[str, Any], part: str, *columns: Column) -> list[tuple[str, ...]]:
    """Rows of a table over all worlds: the world's name and the columns as text."""
    return [(world, *(_cell(row, column) for column in columns))
            for world, found in worlds.items() for row in found[part]]


def _cell(row: Mapping[str, Any], column: Column) -> str:
    name, show = (column, _plain) if isinstance(column, str) else column
    return show(row[name])


def _plain(value: Any) -> str:
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else number_text(value)
