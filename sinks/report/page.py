"""The report as one self-contained HTML page: plots, tables, and the SQL behind each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sinks.report import charts
from sinks.report.charts import Bar, Line, Span, number_text
from sinks.report.drift import sentence
from sinks.report.words import (
    DRIFT_COLUMNS,
    FIGURE_COLUMNS,
    amount,
    caused_row,
    drift_row,
    duration,
    either,
    few,
    figure_rows,
    interval,
    percent_points,
    rows_of,
    shadow_words,
    share,
    split_words,
    usd,
)

HERE = Path(__file__).resolve().parent
Report = Mapping[str, Any]
_KINDS = {"admitted": "good", "refused": "warn", "quarantined": "bad", "duplicate": "minor"}


@dataclass(frozen=True, slots=True)
class Table:
    """`numeric`: how many columns at the right hold numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: int = 1
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    says: str
    sql: Sequence[str]
    plots: Sequence[str] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Mapping[str, Any]] = ()


def render(report: Report) -> str:
    """The page. Needs nothing from the network."""
    template = _environment().get_template("page.html.j2")
    sections = [*_proof(report), _accounting(report), *_people(report), *_drift(report),
                *_words(report), _exit(report), _speed(report)]
    return template.render(report=report, facts=_facts(report), sections=sections, Markup=Markup,
                           css=Markup((HERE / "page.css").read_text("utf-8")),
                           worlds=report["worlds"], interval=interval,
                           shadow_words=shadow_words)


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                       trim_blocks=True, lstrip_blocks=True)


def _facts(report: Report) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value, what it means."""
    latency = report["latency_ms"]
    return [
        ("events produced", number_text(report["accounting"]["produced"]),
         "all accounted for" if report["accounting"]["holds"] else
         f"{number_text(report['accounting']['unaccounted'])} not accounted for yet"),
        ("admitted per second", number_text(round(report["events_per_s"])), "in busy seconds"),
        ("event to ready message", either(latency["p50"], duration),
         f"p99 {either(latency['p99'], duration)}"),
        ("messages", number_text(sum(report["messages_by_rung"].values())),
         ", ".join(f"{rung} {number_text(n)}" for rung, n in report["messages_by_rung"].items())),
        ("per thousand messages", either(report["usd_per_thousand_messages"], usd),
         "model calls, failed ones included"),
    ]


def _proof(report: Report) -> Iterable[Section]:
    worlds = report["worlds"]
    yield Section(
        "Did it help?",
        "Share of people who converted within the window, those to message less those held "
        "out, in percentage points: the decision counts, also where the message did not leave (in "
        "shadow mode none does). Whiskers hold at any time of looking (95 %). A diamond is the "
        "truth, where the world's maker knows it. Thin rows are single playbooks.",
        ["units", "open_windows"], [charts.intervals(list(_spans(worlds)), "")],
        [Table(("world", "effect, points", "anytime 95 %", "fixed 95 %", "truth", "to message",
                "converted", "held out", "converted"),
               [_effect_row(world, found) for world, found in worlds.items()], 8),
         Table(("world", "split", "people to message", "held out", "expected", "p"),
               [(world, *split_words(found["split"])) for world, found in worlds.items()], 4,
               "Sample-ratio check, on each person's first unit")])
    yield Section(
        "Credited is not caused",
        "Last touch and linear credit every conversion that follows a message. The hold-out says "
        "how many of the conversions on the message side the messages caused.",
        ["attribution", "units", "costs"], [],
        [Table(("world", "playbook", "last touch", "linear", "value, last touch", "value, linear"),
               rows_of(worlds, "attribution", "playbook", "last_touch", "linear",
                       "last_touch_value", "linear_value"), 4),
         Table(("world", "units to message", "of these converted", "caused by messages", "95 %",
                "USD per caused conversion"),
               [caused_row(world, found["incremental"]) for world, found in worlds.items()], 5)])


def _spans(worlds: Mapping[str, Any]) -> Iterable[Span]:
    for world, found in worlds.items():
        rows = [(world, found["lift"], False)]
        rows += [(name, one["lift"], True) for name, one in found["by_playbook"].items()]
        for label, lift, minor in rows:
            if lift["estimate"] is not None:
                truth = lift.get("truth")
                yield Span(label, lift["low"] * 100, lift["estimate"] * 100, lift["high"] * 100,
                           None if truth is None else truth * 100, minor)


def _effect_row(world: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    lift = found["lift"]
    return (world, either(lift["estimate"], percent_points),
            interval(lift["low"], lift["high"]),
            interval(lift.get("fixed_low"), lift.get("fixed_high")),
            either(lift.get("truth"), percent_points),
            number_text(lift["treated"]), either(lift.get("treated_mean"), share),
            number_text(lift["held_out"]), either(lift.get("held_out_mean"), share))


def _accounting(report: Report) -> Section:
    total = report["accounting"]
    says = (f"produced {number_text(total['produced'])} = " + " + ".join(
        f"{name} {number_text(total[name])}" for name in _KINDS)
        + (", to the last event." if total["holds"] else
           f"; {number_text(total['unaccounted'])} have no outcome yet.")
        + f" Produced is counted by {total['counted_by']}; {number_text(total['control'])} clock "
        "records, which only move a replay's clock, are left out.")
    stopped = rows_of({**report["worlds"], "(unreadable)": report["unreadable"]}, "refusals",
                      "stage", "outcome", "reason", "field", "records")
    return Section(
        "Every event accounted for", says, ["accounting", "refusals"],
        [charts.strip([Bar(name, total[name], kind=kind) for name, kind in _KINDS.items()])],
        [Table(("world", *_KINDS, "control"),
               [(world, *(number_text(row[name]) for name in (*_KINDS, "control")))
                for world, row in total["by_world"].items()], 5),
         Table(("world", "stage", "outcome", "reason", "field", "records"),
               stopped, 1, "Why things did not go on")])


def _people(report: Report) -> Iterable[Section]:
    worlds = report["worlds"]
    yield Section(
        "What was known: features and segments",
        "How many decisions knew a feature, and how old that was at the median; segment sizes. "
        f"Segments of fewer than {report['segment_members_min']} people are not shown.",
        ["features", "segments"], [],
        [Table(("world", "feature", "known", "of decisions", "coverage", "median age",
                "leaning on groups"),
               rows_of(worlds, "features", "feature", "known", "decisions",
                       ("coverage", share), ("age_ms_p50", _either_duration), "leaning"), 4),
         Table(("world", "segment", "people"),
               rows_of(worlds, "segments", "segment", ("people", few)))])
    yield Section(
        "Moments and decisions",
        "Triggers that fired, the arm chosen, and the probability of having chosen so; a hold-out "
        "is a decision too. Below: what the arms have taught so far.",
        ["triggers", "decisions", "policies"], [],
        [Table(("world", "trigger", "playbook", "decisions", "people", "held out"),
               rows_of(worlds, "triggers", "trigger", "playbook", "decisions", "people",
                       "held_out"), 3),
         Table(("world", "playbook", "arm", "to send", "held out", "mean propensity", "lowest"),
               rows_of(worlds, "decisions", "playbook", "arm", "sent_on", "held_out",
                       ("propensity_mean", share), ("propensity_min", share)), 4),
         Table(("world", "playbook", "arm", "closed trials", "converted", "rate"),
               rows_of(worlds, "policies", "playbook", "arm", "trials", "successes",
                       ("rate", share)), 3)])


def _drift(report: Report) -> Iterable[Section]:
    if not report["drift"]:
        return
    yield Section(
        "Drift",
        "The features of a sample of decisions, counted anew in SQL from the landed events, beside "
        "the values that the decisions were made with: " + sentence(report["drift"]) + " Decays "
        "and distinct items beyond 16 are estimates and held against their error. Skew is the "
        "mean of logged less counted. Features of everybody, segments and things are those that "
        "partitions said of them.", [name for name in report["sql"] if name.startswith("drift")],
        [],
        [Table(DRIFT_COLUMNS, [drift_row(world, name, told)
                               for world, found in report["worlds"].items()
                               for name, told in found["drift"].items()], 8)])


def _either_duration(value_ms: float | None) -> str:
    return either(value_ms, duration)


def _words(report: Report) -> Iterable[Section]:
    worlds = report["worlds"]
    rungs = [Bar(rung, count) for rung, count in report["messages_by_rung"].items()]
    yield Section(
        "Messages",
        "Who wrote them, with samples as they were ready: names and addresses are bound at the "
        "exit and are not in them. Below: counts of items that messages could state, and did; "
        "which of the grammar's did is chance among as many choices, so those without are the "
        "comparison.", ["messages", "samples", "gates", "figures"],
        [charts.bars(rungs)] if rungs else [],
        [Table(("world", "rung", "model", "messages", "tokens in", "tokens out", "USD"),
               rows_of(worlds, "messages", "rung", "model", "messages", "tokens_in",
                       "tokens_out", ("cost_usd_micros", lambda n: usd(n / 1e6))), 4),
         Table(("world", "rung", "gate", "reason", "drafts turned down"),
               rows_of(worlds, "gates", "rung", "gate", "reason", "drafts")),
         Table(FIGURE_COLUMNS, figure_rows(worlds), 9, "What messages stated of items")],
        [{"world": world, **row} for world, found in worlds.items() for row in found["samples"]])


def _exit(report: Report) -> Section:
    worlds = report["worlds"]
    bars = []
    for world, found in worlds.items():
        sent = sum(r["deliveries"] for r in found["deliveries"] if r["status"] == "sent")
        if sent:
            bars.append(Bar(f"{world}: sent", sent))
            bars += [Bar(r["kind"], r["by_people"], share(r["by_people"] / sent), "minor")
                     for r in found["receipts"]]
    return Section(
        "At the exit and back", "Deliveries by channel, and receipts by people; what scanners and "
        "prefetchers opened is counted apart and never learnt from.", ["deliveries", "receipts",
         "receipts_unknown"],
        [charts.bars(bars)] if bars else [],
        [Table(("world", "channel", "status", "reason", "deliveries"),
               rows_of(worlds, "deliveries", "channel", "status", "reason", "deliveries")),
         Table(("world", "channel", "kind", "by people", "by machines"),
               rows_of(worlds, "receipts", "channel", "kind", "by_people", "by_machines"), 2),
         Table(("world", "channel", "kind", "receipts"),
               rows_of(worlds, "receipts_unknown", "channel", "kind", "receipts"), 1,
               "Left out: they name a decision that never was")])


def _speed(report: Report) -> Section:
    buckets: dict[int, int] = {}
    for found in report["worlds"].values():
        for row in found["latency_spread"]:
            buckets[row["up_to_ms"]] = buckets.get(row["up_to_ms"], 0) + row["messages"]
    by_world: dict[str, list[tuple[float, float]]] = {}
    for row in report["throughput"]["series"]:
        by_world.setdefault(row["world"], []).append((row["second"], row["events"]))
    plots = [charts.columns([Bar(f"≤{number_text(ms)}", n) for ms, n in sorted(buckets.items())],
                            "ms, event to ready message")] if buckets else []
    plots += [charts.lines([Line(*pair) for pair in by_world.items()], "events admitted per second")
              ] if by_world else []
    rows = [(world, number_text(found["latency_ms"]["messages"]),
             *(either(found["latency_ms"][q], duration) for q in ("p50", "p90", "p99", "slowest")),
             either(found["usd_per_thousand_messages"], usd))
            for world, found in report["worlds"].items()]
    return Section(
        "Speed and cost",
        f"{number_text(report['throughput']['events'])} events in "
        f"{amount(report['throughput']['busy_s'], 'busy second')}.",
        ["latency", "latency_spread", "throughput", "throughput_series", "costs"], plots,
        [Table(("world", "messages", "p50", "p90", "p99", "slowest", "USD per thousand"), rows, 6)])
