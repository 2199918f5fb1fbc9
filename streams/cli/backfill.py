"""kairos backfill: what new features would know, had they been there from the log's beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table

from streams import settings as configuration
from streams.adapters.backfilling import entries_of, fill, layouts_of, not_filled
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
    segments, of everybody and of things are not filled: it says which of their features lack what.
    """
    settings = configuration.load()
    program = compiled(settings.definitions)
    entries = entries_of(settings)
    layouts, left = layouts_of(settings, program, entries), not_filled(settings, program, entries)
    lacking = {
        name: ends for name, cells in cells_of(program).items()
        if (ends := {part: max(layout.starts[cell] for cell in cells & layout.starts.keys())
                     for part, layout in layouts.items() if cells & layout.starts.keys()})}
    if check or not lacking:
        if as_json:
            click.echo(json.dumps({"lacking": lacking, "not_filled": left}))
        elif not lacking:
            click.echo("every feature of people has counted from the beginning; there is nothing "
                       "to fill")
        else:
            _show(lacking)
        if not as_json:
            _say_left(left)
        return
    quiet = Console(stderr=True)
    found = fill(settings, program, layouts, lambda said: quiet.print(said, highlight=False))
    if as_json:
        click.echo(json.dumps({"features": found.features, "events": found.events,
                               "rows": found.rows, "since_ms": found.since_ms,
                               "not_filled": left}))
        return
    click.echo(f"{', '.join(found.features)}: {found.events:,} events of the past, "
               f"{found.rows:,} people; their owners add it within seconds")
    if found.since_ms:
        click.echo(f"the log begins at {show_moment(found.since_ms)}: what was before is lacking, "
                   "and `since_ms` says so")
    _say_left(left)


def _say_left(left: Mapping[str, Sequence[str]]) -> None:
    """What stays lacking, by name."""
    for kind, features in left.items():
        whose = "everybody and segments" if kind == "groups" else f"entity {kind}"
        click.echo(f"not filled, of {whose}: {', '.join(features)}. They count what happened since "
                   "they began, and say since when (`since_ms`)")


def _show(lacking: dict[str, dict[int, int]]) -> None:
    table = Table("feature", "partitions", "records before it began")
    for name, ends in lacking.items():
        table.add_row(name, ", ".join(map(str, sorted(ends))), f"{sum(ends.values()):,}")
    Console().print(table)
