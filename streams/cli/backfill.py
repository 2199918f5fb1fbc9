"""kairos backfill: what new features would know, had they been there from the log's beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table

from streams import settings as configuration
from streams.adapters.backfilling import Layouts, fill, layouts_of, not_filled
from streams.choose.backfill import cells_of
from streams.choose.definitions import compiled
from streams.choose.program import Program
from streams.kernel.moments import show_moment


@click.command()
@click.option("--check", is_flag=True, help="Only tell what is lacking.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backfill(check: bool, as_json: bool) -> None:
    """Fill features that were declared later from events.admitted, beside the running workers.

    A feature that is new counts what happens from its first start on. This reads the log from its
    beginning to there, and sends the part of each person, of everybody and of each thing to the
    owner of the row, who adds it: then it is as if the feature had always been declared. Stopped
    and begun again, it goes on. Rows of segments are not filled, as the log does not say who was in
    them; nor are things of a new entity of which there are more than it keeps. Their features go on
    saying since when they count, and this says which they are.
    """
    settings = configuration.load()
    program = compiled(settings.definitions)
    layouts = layouts_of(settings, program)
    left, lacking = not_filled(program, layouts), _lacking(program, layouts)
    if check or not lacking:
        if as_json:
            click.echo(json.dumps({"lacking": lacking, "not_filled": left}))
        elif not lacking:
            click.echo("every feature of people, of everybody and of things that can be filled has "
                       "counted from the beginning; there is nothing to fill")
        else:
            _show(lacking)
        if not as_json:
            _say_left(left)
        return
    quiet = Console(stderr=True)
    found = fill(settings, program, layouts, lambda said: quiet.print(said, highlight=False))
    if as_json:
        click.echo(json.dumps({"features": found.features, "events": found.events,
                               "rows": found.rows, "other_rows": found.other_rows,
                               "since_ms": found.since_ms, "not_filled": left}))
        return
    click.echo(f"{', '.join(found.features)}: {found.events:,} events of the past, "
               f"{found.rows:,} people, {found.other_rows:,} rows of everybody and of things; "
               "their owners add it within seconds")
    if found.since_ms:
        click.echo(f"the log begins at {show_moment(found.since_ms)}: what was before is lacking, "
                   "and `since_ms` says so")
    _say_left(left)


def _lacking(program: Program, layouts: Layouts) -> dict[str, dict[int, int]]:
    """{feature: {partition: the offset before which it lacks something}}."""
    found: dict[str, dict[int, int]] = {}
    for kind, features in cells_of(program).items():
        for partition, kinds in layouts.items():
            starts = kinds[kind].starts if kind in kinds else {}
            for name, cells in features.items():
                if cells & starts.keys() and not name.startswith("_"):
                    ends = found.setdefault(name, {})
                    ends[partition] = max(ends.get(partition, 0), *(
                        starts[cell] for cell in cells & starts.keys()))
    return found


def _say_left(left: Mapping[str, Sequence[str]]) -> None:
    """What stays lacking, by name."""
    for whose, features in left.items():
        whom = whose if whose in ("everybody", "segments") else f"entity {whose}"
        click.echo(f"not filled, of {whom}: {', '.join(features)}. They count what happened since "
                   "they began, and say since when (`since_ms`)")


def _show(lacking: dict[str, dict[int, int]]) -> None:
    table = Table("feature", "partitions", "records before it began")
    for name, ends in lacking.items():
        table.add_row(name, ", ".join(map(str, sorted(ends))), f"{sum(ends.values()):,}")
    Console().print(table)
