"""kairos backfill: what new features would know, had they been there from the log's beginning."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from streams import settings as configuration
from streams.adapters.backfilling import fill, layouts_of
from streams.choose.backfill import cells_of
from streams.choose.definitions import compiled
from streams.kernel.moments import show_moment


@click.command()
@click.option("--check", is_flag=True, help="Only tell what is lacking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backfill(check: bool, as_json: bool) -> None:
    """Fill features that were declared later from events.admitted, beside the running workers.

    A feature that is new counts what happens from its first start on. This reads the log from its
    beginning to there, and sends each person's part to their owner, who adds it to the row: then it
    is as if the feature had always been declared. Stopped and begun again, it goes on. Rows of
    segments and of everybody are not filled.
    """
    settings = configuration.load()
    program = compiled(settings.definitions)
    layouts = layouts_of(settings, program)
    lacking = {
        name: ends for name, cells in cells_of(program).items()
        if (ends := {part: max(layout.starts[cell] for cell in cells & layout.starts.keys())
                     for part, layout in layouts.items() if cells & layout.starts.keys()})}
    if check or not lacking:
        if as_json:
            click.echo(json.dumps({"lacking": lacking}))
        elif not lacking:
            click.echo("every feature has counted from the beginning; there is nothing to fill")
        else:
            _show(lacking)
        return
    quiet = Console(stderr=True)
    found = fill(settings, program, layouts, lambda said: quiet.print(said, highlight=False))
    if as_json:
        click.echo(json.dumps({"features": found.features, "events": found.events,
                               "rows": found.rows, "since_ms": found.since_ms}))
        return
    click.echo(f"{', '.join(found.features)}: {found.events:,} events of the past, "
               f"{found.rows:,} people; their owners add it within seconds")
    if found.since_ms:
        click.echo(f"the log begins at {show_moment(found.since_ms)}: what was before is lacking, "
                   "and `since_ms` says so")


def _show(lacking: dict[str, dict[int, int]]) -> None:
    table = Table("feature", "partitions", "records before it began")
    for name, ends in lacking.items():
        table.add_row(name, ", ".join(map(str, sorted(ends))), f"{sum(ends.values()):,}")
    Console().print(table)
