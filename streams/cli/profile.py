"""kairos profile: what is known of one person now."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console

from infra import secrets
from sinks.report.story import UnknownError, present
from streams import settings as configuration
from streams.adapters.profiles import is_profile_id, read_profile
from streams.cli.reading import reader
from streams.cli.why import age, show_consents, show_features, table
from streams.kernel import money
from streams.kernel.moments import show_moment
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings


@click.command()
@click.argument("profile_id", required=False)
@click.option("--user", metavar="USER_ID", help="The app's own id of the person, instead.")
@click.option("--anonymous", metavar="ID", help="The app's id of an unknown visitor, instead.")
@click.option("--tenant", default="default", show_default=True,
              help="Tenant of that user or visitor.")
@click.option("--row", "as_row", is_flag=True,
              help="What the workers know: the row itself, as of their last checkpoint.")
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def profile(profile_id: str | None, user: str | None, anonymous: str | None, tenant: str,
            as_row: bool, as_json: bool) -> None:
    """What is known of one person: consents, segments, features at their newest decision.

    Give a profile id, or --user with --tenant: its pseudonym is computed here, with this
    installation's key, and the user id goes no further. With --row all features as the workers have
    them, with ages, whether anybody decided about the person or not; ClickHouse is not asked.
    """
    settings = configuration.load()
    subject = _subject(settings, profile_id, user, anonymous, tenant)
    if as_row:
        show_row(_row(settings, subject), as_json=as_json)
        return
    try:
        found = present(reader(settings), subject)
    except UnknownError as fault:
        if profile_id is not None:
            raise
        raise UnknownError(
            f"nothing is known of {user if user is not None else anonymous!r} in tenant {tenant!r}",
            "check --tenant; what was refused is in `kairos quarantine list`") from fault
    if as_json:
        click.echo(json.dumps(found, indent=2, default=str))
        return
    console = Console()
    console.print(f"[bold]{found['profile_id']}[/bold] in {found['world']}", highlight=False)
    show_consents(found["consents"], console)
    console.print(f"segments: {', '.join(found['segments']) or 'none'}", highlight=False)
    if found["features_as_of_ms"] is None:
        console.print("features: no decision was made about this person yet", highlight=False)
    else:
        console.print(f"features as of {show_moment(found['features_as_of_ms'])}, their newest "
                      "decision:", highlight=False)
        show_features(found["features"], console)
    table(console, "Newest events", ("when", "event", "item", "value"), [
        (show_moment(e["event_ms"]), e["event_type"], e["item_id"],
         money.show(e["value_micros"]) if e["value_micros"] else "") for e in found["events"]])


def _row(settings: Settings, subject: str) -> dict[str, Any]:
    found = read_profile(settings, subject) if is_profile_id(subject) else None
    if found is None:
        raise UnknownError(f"{subject}: the workers have no row of such a profile",
                           "a profile id has 32 hex digits; check --tenant; what was refused is in "
                           "`kairos quarantine list`")
    return found


def show_row(found: dict[str, Any], *, as_json: bool) -> None:
    """Print a row as `adapters.profiles` reads it."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console()
    if found["moved_to"]:
        console.print(f"[bold]{found['profile_id']}[/bold] is a visitor who turned out to be "
                      f"{found['moved_to']}: all that is known went there", highlight=False)
        return
    console.print(f"[bold]{found['profile_id']}[/bold] of tenant {found['tenant']}, as of "
                  f"{show_moment(found['as_of_ms'])}", highlight=False)
    console.print(f"purposes: {', '.join(found['purposes']) or 'none; everything is denied'}",
                  highlight=False)
    stated = "" if found["segments_stated"] else " (to be asked anew: their rules changed)"
    console.print(f"segments: {', '.join(found['segments']) or 'none'}{stated}", highlight=False)
    show_features(found["features"], console)
    refused = [f"{name} ({age(each['age_ms'])}, at most {age(each['max_age_ms'])})"
               for name, each in found["features"].items() if each.get("refused")]
    if refused:
        console.print(f"refused, too old: {', '.join(refused)}", highlight=False)


def _subject(settings: Settings, profile_id: str | None, user: str | None,
             anonymous: str | None, tenant: str) -> str:
    """The profile id asked for. Raises UsageError unless exactly one of the three was given."""
    if sum(given is not None for given in (profile_id, user, anonymous)) != 1:
        raise click.UsageError("give one of: a profile id, --user USER_ID, --anonymous ID")
    if profile_id is not None:
        return profile_id
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(settings, "pseudonym_key")))
    if user is not None:
        return pseudonyms.known(tenant, user)
    assert anonymous is not None
    return pseudonyms.anonymous(tenant, anonymous)
