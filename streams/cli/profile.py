"""kairos profile: what is known of one person now."""

from __future__ import annotations

import json

import click
from rich.console import Console

from infra import secrets
from sinks.report.story import UnknownError, present
from streams import settings as configuration
from streams.cli.reading import reader
from streams.cli.why import show_consents, show_features, table
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
@click.option("--json", "as_json", is_flag=True, help="Print the profile as JSON.")
def profile(profile_id: str | None, user: str | None, anonymous: str | None, tenant: str,
            as_json: bool) -> None:
    """What is known of one person: consents, segments, features at their newest decision.

    Give a profile id, or --user with --tenant: its pseudonym is computed here, with this
    installation's key, and the user id goes no further.
    """
    settings = configuration.load()
    subject = _subject(settings, profile_id, user, anonymous, tenant)
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
