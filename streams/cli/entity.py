"""kairos entity: what is known of an item, a category, a campaign, a property."""

from __future__ import annotations

import json

import click
from rich.console import Console

from streams import settings as configuration
from streams.adapters.things import read_thing
from streams.cli.why import show_things
from streams.kernel.errors import KairosError
from streams.kernel.moments import show_moment


class NothingSaidError(KairosError):
    """Nothing may be said of the thing."""


@click.command()
@click.argument("entity", metavar="item|category|campaign|property.NAME")
@click.argument("name")
@click.option("--tenant", default="default", show_default=True, help="Whose thing it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def entity(entity: str, name: str, tenant: str, as_json: bool) -> None:
    """Rolling features of one thing, as all workers together have them.

    Which things have features says features.yml. A thing of fewer people than
    KAIROS_SEGMENT_MEMBERS_MIN is not shown, nor one that is not among the hottest.
    """
    settings = configuration.load()
    found = read_thing(settings, tenant, entity, name)
    if found is None:
        raise NothingSaidError(
            f"nothing is said of {entity} {name!r} in tenant {tenant!r}",
            f"it is unknown, not among the hottest, or of fewer than "
            f"{settings.segment_members_min} people (KAIROS_SEGMENT_MEMBERS_MIN); check --tenant")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(f"[bold]{entity} {name}[/bold] of tenant {tenant}, as of "
                  f"{show_moment(found['as_of_ms'])}, {found['people']:,} people"
                  + (", a bestseller" if found["bestseller"] else ""), highlight=False)
    show_things({entity: {name: {"people": found["people"], **found["features"]}}}, console)
