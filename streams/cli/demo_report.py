"""The end of the demo: the truth of the storefront, the report, and the verdict in plain words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.client import connect
from sinks.report.drift import sentence
from streams.cli.demo_worlds import Played
from streams.cli.report import make, write
from streams.kernel.errors import UnreachableError
from streams.settings import Settings
from streams.worlds.storefront.truth import Decided, lift

_DECISIONS = """
SELECT decision_id, profile_id, moment_ms, holdout
FROM decisions WHERE tenant = {tenant:String} AND playbook = {playbook:String}
"""
_STORY = """
SELECT decision_id FROM deliveries WHERE tenant = 'storefront' AND status = 'sent'
ORDER BY decision_id LIMIT 1
"""


def conclude(settings: Settings, played: Played, *, keep: bool) -> dict[str, Any]:
    """{words, report, truth, sent, retail, looked_at}; `words` is what a person is told."""
    truth = write_truth(settings, played)
    report = make(settings)
    page = write(report, settings.path("report", "-").parent) / "index.html"
    return {"words": words(settings, played, truth, report, page, keep=keep), "report": report,
            "truth": truth, "sent": dict(played.storefront.sent),
            "expected": dict(played.storefront.expected), "followed": dict(played.followed),
            "retail": played.retail.as_dict(), "home": str(settings.home)}


def write_truth(settings: Settings, played: Played) -> dict[str, Any]:
    """HOME/worlds/storefront.truth.json: what the messages really changed. Raises KairosError."""
    tenant, playbook = played.playbook.tenant, played.playbook.name
    found = lift(_decisions(settings, tenant, playbook), played.storefront.log)
    found |= {"seed": played.storefront.world.seed, "playbook": playbook,
              "sent": dict(played.storefront.sent), "expected": dict(played.storefront.expected)}
    path = settings.path("worlds", f"{tenant}.truth.json")
    path.write_text(json.dumps(found, indent=1))
    return found


def _decisions(settings: Settings, tenant: str, playbook: str) -> list[Decided]:
    client = connect(settings, user="reader")
    try:
        rows = client.query(_DECISIONS, parameters={"tenant": tenant, "playbook": playbook})
        return [Decided(str(row[0]), str(row[1]), int(row[2]), bool(row[3]))
                for row in rows.result_rows]
    except ClickHouseError as fault:
        raise UnreachableError(f"ClickHouse did not answer about decisions: "
                               f"{str(fault).splitlines()[0][:200]}",
                               "see `kairos doctor`") from None
    finally:
        client.close()


def words(settings: Settings, played: Played, truth: dict[str, Any], report: dict[str, Any],
          page: Path, *, keep: bool) -> list[str]:
    """The verdict, and where to look."""
    lines = ["", "What came out"]
    lines += [f"  {line}" for line in (_accounting(report), *_verdicts(report, truth),
                                       *_cost_and_speed(report), _stated(report),
                                       _drift(report)) if line]
    sent = sum(played.storefront.sent.values())
    lines.append(f"  The storefront's apps sent {sent:,} events, {sum(_bad(played).values()):,} of "
                 "them bad on purpose; its shoppers "
                 + ", ".join(f"{kind} {count:,}" for kind, count in sorted(
                     played.followed.items())) + ".")
    lines.append(f"  {_fates(played, report)}")
    lines += ["", "Where to look"]
    lines.append(f"  report    {page}")
    home = f"KAIROS_HOME={settings.home} KAIROS_DEFINITIONS={settings.definitions} "
    if keep:
        lines += [f"            {settings.public_url}/report",
                  f"  mailbox   {settings.public_url}/mailbox",
                  f'  SQL       {home}kairos sql "SELECT * FROM arms"']
        story = _story(settings)
        if story:
            lines.append(f"  one story {home}kairos why {story}")
    else:
        lines.append("  `kairos demo --keep` (make demo KEEP=1) leaves everything running: "
                     "mailbox, SQL, `kairos why`")
    return lines


def _bad(played: Played) -> dict[str, int]:
    return {kind: count for kind, count in played.storefront.sent.items() if kind != "event"}


def _fates(played: Played, report: dict[str, Any]) -> str:
    """Whether admission put every storefront event where the simulator knows it belongs."""
    by_world = report.get("accounting", {}).get("by_world", {})
    found = dict(by_world.get(played.playbook.tenant, {}))
    found["quarantined"] = found.get("quarantined", 0) + by_world.get(
        "(unreadable)", {}).get("quarantined", 0)
    wrong = [f"{name} {found.get(name, 0):,} instead of {count:,}" for name, count in sorted(
        played.storefront.expected.items()) if found.get(name, 0) != count]
    return ("Each of them ended where it had to." if not wrong
            else f"Not all of them ended where they had to: {', '.join(wrong)}.")


def _accounting(report: dict[str, Any]) -> str:
    told = report.get("accounting", {})
    parts_ = " + ".join(f"{told.get(name, 0):,} {name}" for name in (
        "admitted", "refused", "quarantined", "duplicate"))
    holds = "to the last event" if told.get("holds", True) else "and it does NOT add up"
    return f"Of {told.get('produced', 0):,} events produced: {parts_}, {holds}."


def _verdicts(report: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    lines = []
    worlds = report.get("worlds", {})
    for name, title in (("retail", "The retailer (nobody saw a message: an A/A test)"),
                        ("storefront", "The storefront")):
        shown = worlds.get(name, {}).get("lift", {})
        if shown.get("estimate") is None:
            lines.append(f"{title}: not enough data for a verdict.")
            continue
        low, high = shown["low"], shown["high"]
        span = f"{shown['estimate']:+.1%} (95 % interval {low:+.1%} to {high:+.1%})"
        if name == "retail":
            verdict = ("no effect, as it must be" if low <= 0 <= high
                       else "an effect, which is WRONG")
        else:
            true = truth["lift"]
            verdict = "no truth is known" if true is None else (
                f"the truth is {true:+.1%}, " + ("inside" if low <= true <= high else "OUTSIDE")
                + " the interval")
        lines.append(f"{title}: lift {span}: {verdict}.")
    return lines


def _cost_and_speed(report: dict[str, Any]) -> list[str]:
    latency, usd = report.get("latency_ms", {}), report.get("usd_per_thousand_messages")
    lines = []
    if latency.get("p50") is not None:
        lines.append(f"Event to ready message: p50 {latency['p50']:,} ms, p99 "
                     f"{latency['p99']:,} ms; {report.get('events_per_s', 0):,.0f} events/s.")
    if usd is not None:
        lines.append(f"A thousand messages cost {usd:.4f} dollars.")
    return lines


def _stated(report: dict[str, Any]) -> str:
    """How often messages stated what is counted of their item, and the greatest of it."""
    rows = report.get("worlds", {}).get("storefront", {}).get("figures", [])
    could, did = (sum(row[name] for row in rows) for name in ("could", "did"))
    if not could:
        return ""
    highest: dict[str, int] = {}
    for row in rows:
        if row["did"]:
            highest[row["figure"]] = max(highest.get(row["figure"], 0), row["highest"])
    return (f"Messages stated a count of their item {did:,} times, of {could:,} that they could"
            + "".join(f", {name} up to {value:,}" for name, value in highest.items()) + ".")


def _drift(report: dict[str, Any]) -> str:
    """Whether what decisions knew agrees with a recount of the landed events."""
    found = report.get("drift", {})
    return f"Drift: {sentence(found)}" if found else ""


def _story(settings: Settings) -> str:
    client = connect(settings, user="reader")
    try:
        rows = client.query(_STORY).result_rows
        return str(rows[0][0]) if rows else ""
    except ClickHouseError:
        return ""
    finally:
        client.close()
