"""The report as a terminal shows it: the verdicts, the identity, and one table for each part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sinks.report.build import OUTCOMES
from sinks.report.charts import number_text
from sinks.report.drift import sentence
from sinks.report.words import (
    FIGURE_COLUMNS,
    caused_row,
    duration,
    either,
    few,
    figure_rows,
    interval,
    percent_points,
    rows_of,
    shadow_words,
    share,
    skew,
    split_words,
    treated_words,
    usd,
)

Report = Mapping[str, Any]


def show(report: Report, console: Console) -> None:
    """Print the report."""
    worlds = report["worlds"]
    _verdicts(worlds, console)
    _identity(report["accounting"], console)
    _table(console, "Credited is not caused", ("world", "playbook", "last touch", "linear"),
           rows_of(worlds, "attribution", "playbook", "last_touch", "linear"), 2)
    _table(console, "Caused, of the conversions on the message side", (
        "world", "units to message", "converted", "caused", "95 %", "USD per caused"),
        [caused_row(world, found["incremental"]) for world, found in worlds.items()], 5)
    _table(console, "Segments", ("world", "segment", "people"), rows_of(
        worlds, "segments", "segment", ("people", few)))
    _table(console, "Triggers", ("world", "trigger", "playbook", "decisions", "held out"),
           rows_of(worlds, "triggers", "trigger", "playbook", "decisions", "held_out"), 2)
    _table(console, "Decisions", ("world", "playbook", "arm", "to send", "held out",
                                  "mean propensity"),
           rows_of(worlds, "decisions", "playbook", "arm", "sent_on", "held_out",
                   ("propensity_mean", share)), 3)
    _table(console, "Messages", ("world", "rung", "model", "messages"),
           rows_of(worlds, "messages", "rung", "model", "messages"))
    _table(console, "Turned down by a gate", ("world", "rung", "gate", "reason", "drafts"),
           rows_of(worlds, "gates", "rung", "gate", "reason", "drafts"))
    _table(console, "Counts of items in messages", FIGURE_COLUMNS, figure_rows(worlds), 9)
    _table(console, "At the exit", ("world", "channel", "status", "reason", "deliveries"),
           rows_of(worlds, "deliveries", "channel", "status", "reason", "deliveries"))
    _table(console, "Receipts", ("world", "kind", "by people", "by machines"),
           rows_of(worlds, "receipts", "kind", "by_people", "by_machines"), 2)
    _table(console, "Receipts left out: no such decision", ("world", "channel", "kind", "receipts"),
           rows_of(worlds, "receipts_unknown", "channel", "kind", "receipts"))
    if report["drift"]:
        show_drift({world: found["drift"] for world, found in worlds.items()}, console,
                   only_drifted=True)
    _speed(report, console)


def show_drift(drifts: Mapping[str, Mapping[str, Any]], console: Console, *,
               only_drifted: bool = False) -> None:
    """The figures of each feature, and a sentence for each world.

    only_drifted   no rows for features that agree or are merely estimated
    """
    counts = ("compared", "mismatch", "missing", "estimated", "estimated_off")
    for world, found in drifts.items():
        _table(console, f"Drift of {world}", (
            "feature", "compared", "differ", "one-sided", "estimated", "off", "skew"), [
            (name, *(number_text(told[count]) for count in counts), skew(told))
            for name, told in found.items() if not only_drifted or any(
                told[count] for count in ("mismatch", "missing", "estimated_off", "merged"))], 6)
    console.print()
    for world, found in drifts.items():
        if found:
            console.print(f"drift of {world}: {sentence(found)}", highlight=False)


def _verdicts(worlds: Mapping[str, Any], console: Console) -> None:
    for world, found in worlds.items():
        lift = found["lift"]
        console.print(f"\n[bold]{world}[/bold]  {found['verdict']}")
        if lift["estimate"] is None:
            continue
        truth = "" if lift.get("truth") is None else (
            f"; truth {percent_points(lift['truth'])}, "
            + ("inside" if lift["covers_truth"] else "OUTSIDE") + " the interval")
        console.print(
            f"  effect {percent_points(lift['estimate'])} points, anytime 95 % "
            f"{interval(lift['low'], lift['high'])}{truth}", highlight=False)
        console.print(
            f"  {number_text(lift['treated'])} {treated_words(found['exit'])} "
            f"({share(lift['treated_mean'])} converted), "
            f"{number_text(lift['held_out'])} held out ({share(lift['held_out_mean'])}); split "
            f"{split_words(found['split'])[0]}, p {split_words(found['split'])[-1]}",
            highlight=False)
        if said := shadow_words(found["exit"]):
            console.print(f"  {said}", style="yellow", highlight=False)
        if lift["left_out"]:
            console.print(f"  left out, too few on one side: {', '.join(lift['left_out'])}")


def _identity(total: Mapping[str, Any], console: Console) -> None:
    said = " + ".join(f"{name} {number_text(total[name])}" for name in OUTCOMES)
    sign = "=" if total["holds"] else "≠"
    console.print(f"\nproduced {number_text(total['produced'])} {sign} {said}", highlight=False)
    if not total["holds"]:
        console.print(f"  {number_text(total['unaccounted'])} without an outcome yet",
                      style="yellow", highlight=False)
    console.print(f"  counted by {total['counted_by']}; {number_text(total['control'])} clock "
                  "records apart", highlight=False)


def _speed(report: Report, console: Console) -> None:
    rows: list[Sequence[str]] = []
    for world, found in (*report["worlds"].items(), ("all", report)):
        latency = found["latency_ms"]
        rows.append((world, number_text(latency["messages"]),
                     *(either(latency[q], duration) for q in ("p50", "p99", "slowest")),
                     either(found["usd_per_thousand_messages"], usd)))
    _table(console, "Event to ready message", ("world", "messages", "p50", "p99", "slowest",
                                               "USD per thousand"), rows, 5)
    rate, busy_s = report["events_per_s"], report["throughput"]["busy_s"]
    console.print(f"\n{number_text(round(rate))} events admitted per second, over "
                  f"{number_text(busy_s)} busy seconds", highlight=False)


def _table(console: Console, title: str, columns: Sequence[str],
           rows: Iterable[Sequence[str]], numeric: int = 1) -> None:
    """A table, unless it would be empty."""
    listed = list(rows)
    if not listed:
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=None,
                  header_style="dim", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number >= len(columns) - numeric else "left")
    for row in listed:
        table.add_row(*row)
    console.print()
    console.print(table)
