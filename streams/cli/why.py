"""kairos why: one person's story, or one decision's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sinks.report.story import tell
from streams import settings as configuration
from streams.cli.reading import reader
from streams.kernel import money
from streams.kernel.moments import show_moment

Part = Mapping[str, Any]


@click.command()
@click.argument("subject", metavar="PROFILE|DECISION")
@click.option("--json", "as_json", is_flag=True, help="Print the story as JSON.")
def why(subject: str, as_json: bool) -> None:
    """Why this was said to a person, or why nothing.

    Events, consents, features at the moment, arm and probabilities, what the writer was told,
    gates, cost, delivery, receipts and outcome. Names and addresses are not in it.
    """
    if not subject.strip():
        raise click.UsageError("give the id of a profile or of a decision")
    story = tell(reader(configuration.load()), subject)
    if as_json:
        click.echo(json.dumps(story, indent=2, default=str))
    else:
        show(story, Console())


def show(story: Part, console: Console) -> None:
    console.print(f"[bold]{story['profile_id']}[/bold] in {story['world']}", highlight=False)
    show_consents(story["consents"], console)
    table(console, "Events before", ("when", "event", "item", "cart", "order", "value"), [
        (show_moment(e["event_ms"]), e["event_type"], e["item_id"], e["cart_id"], e["order_id"],
         money.show(e["value_micros"]) if e["value_micros"] else "") for e in story["events"]])
    table(console, "Segments", ("when", "segment", "change", "by"), [
        (show_moment(s["event_ms"]), s["segment"], "entered" if s["entered"] else "left",
         s["cause"]) for s in story["segments"]])
    for decision in story["decisions"]:
        _decision(decision, console)
    if not story["decisions"]:
        console.print("\nNo decision was made about this person.")
    table(console, "Not said, not used", ("when", "stage", "playbook", "reason", "detail"), [
        (show_moment(r["event_ms"]) if r["event_ms"] else "", r["stage"], r["playbook"],
         r["reason"], r["detail"]) for r in story["not_said"]])


def show_consents(consents: Sequence[Part], console: Console) -> None:
    said = ", ".join(f"{c['purpose']} {'yes' if c['granted'] else 'NO'} ({c['origin']})"
                     for c in consents)
    console.print(f"consents: {said or 'none recorded; everything is denied'}", highlight=False)


def show_features(features: Part, console: Console) -> None:
    things = {name: f for name, f in features.items() if "value" not in f}
    features = {name: f for name, f in features.items() if "value" in f}
    known = {name: f for name, f in features.items() if f["value"] is not None}
    table(console, "Features", ("feature", "value", "age", "counts since"), [
        (name, _shown(f["value"]), age(f["age_ms"]),
         show_moment(f["since_ms"]) if f.get("since_ms") else "") for name, f in known.items()])
    leaning = {name: f["back_off"] for name, f in features.items() if "back_off" in f}
    table(console, "Leaning on groups", ("feature", "used", "mostly of", "own events", "segment",
                                         "everybody"), [
        (name, "" if b["used"] is None else f"{b['used']:g}", b["level"],
         f"{b['events']} of {b['below']}", _level(b.get("segment")), _level(b.get("global")))
        for name, b in leaning.items()])
    show_things(things, console)
    if len(known) < len(features):
        console.print(f"not known: {', '.join(n for n in features if n not in known)}",
                      highlight=False, style="dim")


def show_things(things: Part, console: Console) -> None:
    """Features of items and other things: {entity: {name: {...}}}."""
    table(console, "Of things", ("thing", "people", "feature", "value", "age", "counts since"), [
        (f"{entity} {name}", f"{told['people']:,}", feature,
         "" if f["value"] is None else f"{f['value']:g}", age(f["age_ms"]),
         show_moment(f["since_ms"]) if f.get("since_ms") else "")
        for entity, named in things.items() for name, told in named.items()
        for feature, f in told.items() if isinstance(f, dict)])


def _level(told: Part | None) -> str:
    """A group's value and what it rests on."""
    if told is None or told["value"] is None:
        return ""
    name = f"{told['name']}: " if told.get("name") else ""
    return f"{name}{told['value']:g} ({told['events']:,} events, {told['people']:,} people)"


def _shown(value: float | str | list[str]) -> str:
    """A feature's value: a number, a text or a list of texts."""
    if isinstance(value, int | float):
        return f"{value:g}"
    return value if isinstance(value, str) else ", ".join(value)


def age(age_ms: int | None) -> str:
    """How old something is, in hours to one place."""
    return "" if age_ms is None else f"{age_ms / 3_600_000:,.1f} h"


def _decision(decision: Part, console: Console) -> None:
    console.print(f"\n[bold]Decision {decision['decision_id']}[/bold] at "
                  f"{show_moment(decision['moment_ms'])}", highlight=False)
    for sentence in decision["why"]:
        console.print(f"  · {sentence}", highlight=False, markup=False)
    console.print(f"  · because: {json.dumps(decision['evidence'])}", highlight=False,
                  markup=False)
    show_features(decision["features"], console)
    if decision["message"]:
        _message(decision["message"], console)
    table(console, "Model calls", ("rung", "model", "result", "tokens in", "out", "USD", "ms"), [
        (c["rung"], c["model"], c["result"], str(c["tokens_in"]), str(c["tokens_out"]),
         money.show(c["cost_usd_micros"], 6), str(c["took_ms"])) for c in decision["costs"]])
    table(console, "What came back", ("when", "kind", "by"), [
        (show_moment(r["event_ms"]), r["kind"], _sender(r))
        for r in decision["receipts"]])


def _sender(receipt: Part) -> str:
    if receipt["kind"] in ("delivered", "bounced"):
        return "the channel"
    return "a machine" if receipt["machine"] else "the person"


def _message(message: Part, console: Console) -> None:
    console.print(f"\nMessage by {message['rung']} ({message['model']}), ready "
                  f"{message['ready_ms'] - message['trigger_appended_ms']} ms after its event",
                  highlight=False)
    for line in (message["subject"], *message["body"].splitlines()):
        console.print(f"    {line}", highlight=False, markup=False)
    for name in ("brief", "facts", "gates"):
        console.print(f"  {name}: {json.dumps(message[name], ensure_ascii=False)}",
                      highlight=False, markup=False, style="dim")


def table(console: Console, title: str, columns: Sequence[str],
          rows: Sequence[Sequence[str]]) -> None:
    """A plain table, unless it would be empty."""
    if not rows:
        return
    drawn = Table(*columns, title=title, title_justify="left", title_style="bold", box=None,
                  header_style="dim", padding=(0, 2, 0, 0))
    for row in rows:
        drawn.add_row(*map(Text, row))         # what somebody wrote is no markup
    console.print()
    console.print(drawn)
