"""kairos drift: are the values that decisions were made with those of a recount in ClickHouse?"""

from __future__ import annotations

import json

import click
from rich.console import Console

from sinks.report import console, drift, group_drift
from streams import settings as configuration
from streams.choose import definitions
from streams.choose.features.sql import recount
from streams.cli.drift_groups import questions
from streams.cli.reading import reader
from streams.kernel.errors import KairosError
from streams.settings import Settings


@click.command("drift")
@click.option("--sample", type=click.IntRange(1, 100_000), default=drift.SAMPLE, show_default=True,
              help="Most decisions of each tenant, chosen by a hash of their ids.")
@click.option("--shares", type=click.IntRange(0, 100_000), default=group_drift.SAMPLE,
              show_default=True, help="Most shares of everybody, of segments, of each entity that "
              "partitions said, of each tenant; each is counted from all events of its partition. "
              "0: none.")
@click.option("--tenant", default="", metavar="TENANT", help="Only this tenant.")
@click.option("--sql", "as_sql", is_flag=True, help="Print the SQL and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(sample: int, shares: int, tenant: str, as_sql: bool, as_json: bool) -> None:
    """Count the features of past decisions anew from the landed events, and compare.

    And what partitions said of everybody, of segments and of things: features are named with what
    they are of, as in `everybody: spend_30d` or `item: item_views_24h`.

    Exits 1 when a value that is exact differs, or only one side has it. Estimates (decays, distinct
    items beyond 16) are held against their error and listed apart. What docs/features.md says of a
    kind is what is counted.
    """
    settings = configuration.load()
    asked = [question(settings, sample=sample, tenant=tenant)]
    if shares:
        asked += questions(definitions.compiled(settings.definitions), sample=shares,
                           tenant=tenant).values()
    if as_sql:
        click.echo(";\n\n".join(asked))
        return
    ask = reader(settings)
    rows = [row for sql in asked for row in ask(sql, {})]
    found = drift.by_feature(rows)
    if not found:
        whose = f"of tenant '{tenant}' " if tenant else ""
        raise KairosError(f"no decision {whose}has landed in ClickHouse yet, so nothing was "
                          "compared", "`kairos status` says whether the sink runs")
    wrong = drift.drifted(found)
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "drifted": wrong, "drift": found,
                               "by_tenant": drift.by_world(rows)}))
    else:
        console.show_drift(drift.by_world(rows), Console())
    if wrong:
        raise SystemExit(1)


def question(settings: Settings, *, sample: int = drift.SAMPLE, tenant: str = "") -> str:
    """The SQL of the drift of the definitions in force. Raises DefinitionError."""
    specs = definitions.load(settings.definitions).features
    return drift.question(recount(specs), sample=sample, tenant=tenant)
