"""Builds the report: one JSON-able object, from which console and page are drawn.

Pure but for `ask`. Every figure comes from a question in `sql/`, whose text goes along under "sql";
docs/report.md says what each key means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from sinks.report import drift
from sinks.report.effects import experiment
from sinks.report.queries import Answers, Ask, Row, names, text
from streams.kernel.moments import show_moment

OUTCOMES: Final = ("admitted", "refused", "quarantined", "duplicate")
NOTHING_SENT: Final = "nothing was sent (mode: shadow), so both sides were treated alike"
PARTS: Final = ("features", "segments", "triggers", "decisions", "policies", "refusals", "messages",
                "samples", "gates", "figures", "deliveries", "receipts", "receipts_unknown",
                "attribution", "latency_spread", "open_windows")


def build(ask: Ask, *, produced: int | None, truths: Mapping[str, Row], generated_ms: int,
          members_min: int, worlds: frozenset[str] = frozenset(),
          drift_sql: str = "", group_drift_sql: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The whole report.

    produced   records ever produced to events.raw by Kafka's own count; None when nobody asked
    truths     {world: {"lift", "how", ...}} of worlds whose maker knows the true effect
    members_min   segments of fewer people have no size
    worlds     only these; empty means all. The accounting is always of everything.
    drift_sql  counts the features anew, see `sinks.report.drift`; '' leaves that part empty
    group_drift_sql   {kind of group: the same of these}, see `sinks.report.group_drift`
    """
    answers = Answers(ask, {"k_min": members_min}, worlds)
    recounts = {"drift": drift_sql, **{f"drift of {kind}": sql
                                       for kind, sql in (group_drift_sql or {}).items()}}
    drifts = [row for sql in recounts.values() if sql for row in ask(sql, {})
              if not worlds or row["world"] in worlds]
    units = answers.rows("units")
    found = sorted({row["world"] for row in answers.rows("open_windows")} | {
        row["world"] for row in answers.rows("accounting") if row["world"]})
    throughput = answers.rows("throughput")[0]
    return {
        "generated_at": show_moment(generated_ms),
        "segment_members_min": members_min,
        "accounting": accounting(answers.of_all("accounting"), produced),
        "worlds": {world: _world(answers, world, [u for u in units if u["world"] == world],
                                 truths.get(world), drift.by_world(drifts)) for world in found},
        "unreadable": {"refusals": answers.by_world("refusals", "")},
        "latency_ms": _latency(answers.rows("latency"), ""),
        "events_per_s": float(throughput["events_per_s"]),
        "throughput": {"events": throughput["events"], "busy_s": throughput["busy_s"],
                       "series": answers.rows("throughput_series")},
        "usd_per_thousand_messages": _usd_per_thousand(answers.rows("costs")),
        "messages_by_rung": _by_rung(answers.rows("messages")),
        "drift": drift.by_feature(drifts),
        "sql": {**{name: text(name) for name in names()}, **recounts},
    }


def accounting(rows: list[Row], produced: int | None) -> dict[str, Any]:
    """The identity: produced = admitted + refused + quarantined + duplicate, to the last event.

    Clock records only move a replay's clock; they are counted apart (`control`) and are not part
    of `produced`. `unaccounted` is what has no outcome yet, 0 once everything is read.
    """
    total = {name: sum(int(row[name]) for row in rows) for name in (*OUTCOMES, "control")}
    ended = sum(total[name] for name in OUTCOMES)
    made = ended if produced is None else produced - total["control"]
    return {"produced": made, **total, "unaccounted": made - ended, "holds": made == ended,
            "counted_by": "ClickHouse alone" if produced is None else "Kafka's offsets",
            "by_world": {row["world"] or "(unreadable)": {name: int(row[name]) for name in (
                *OUTCOMES, "control")} for row in rows}}


def _world(answers: Answers, world: str, units: list[Row], truth: Row | None,
           drifts: Mapping[str, Any]) -> dict[str, Any]:
    costs = answers.by_world("costs", world)
    parts = {name: answers.by_world(name, world) for name in PARTS}
    intended = sum(row["sent_on"] for row in parts["decisions"])
    usd = sum(row["cost_usd_micros"] for row in costs) / 1e6
    left = _exit(parts["deliveries"])
    found = experiment(units, truth, usd_per_message=usd / max(1, intended))
    if left["shadow"] and not left["sent"]:
        found["verdict"] = f"{NOTHING_SENT}: {found['verdict']}"
    return {
        **found,
        "exit": left,
        "latency_ms": _latency(answers.rows("latency"), world),
        "usd_per_thousand_messages": _usd_per_thousand(costs),
        "cost_usd": usd,
        "drift": drifts.get(world, {}),
        **parts,
    }


def _exit(deliveries: list[Row]) -> dict[str, int]:
    """Messages that left the house, and those that shadow mode kept from it."""
    return {"sent": sum(r["deliveries"] for r in deliveries if r["status"] == "sent"),
            "shadow": sum(r["deliveries"] for r in deliveries if r["reason"] == "shadow")}


def _latency(rows: list[Row], world: str) -> dict[str, Any]:
    """p50, p90, p99 and slowest in milliseconds; None while there is no message."""
    names = ("messages", "p50", "p90", "p99", "slowest")
    for row in rows:
        if row["world"] == world:
            return {name: int(row[name]) for name in names}
    return {"messages": 0, **dict.fromkeys(names[1:])}


def _usd_per_thousand(rows: list[Row]) -> float | None:
    """US dollars per thousand ready messages; None while there is none."""
    messages = sum(row["messages"] for row in rows)
    if messages == 0:
        return None
    return float(sum(row["cost_usd_micros"] for row in rows) / 1e6 / messages * 1000)


def _by_rung(rows: list[Row]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for row in rows:
        counted[row["rung"]] += row["messages"]
    return dict(counted.most_common())
