"""kairos report: what happened, whether it helped, and the SQL that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sinks import offsets
from sinks.report import console, page
from sinks.report.build import build
from streams import settings as configuration
from streams.adapters.clock import WallClock
from streams.choose import definitions
from streams.cli.drift import question
from streams.cli.drift_groups import questions
from streams.cli.reading import reader
from streams.kernel.errors import KairosError, UnreachableError
from streams.settings import Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--html", "as_html", is_flag=True, help="Print the page's HTML.")
@click.option("--world", "worlds", multiple=True, metavar="TENANT",
              help="Only this tenant; may be given several times. The accounting is of all.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for report.json and index.html (default: HOME/report).")
def report(as_json: bool, as_html: bool, worlds: tuple[str, ...], out: Path | None) -> None:
    """What happened, whether it helped, at what cost; printed and as a page.

    Writes report.json and index.html each time.
    """
    settings = configuration.load()
    made = make(settings, frozenset(worlds))
    where = write(made, out or settings.path("report", "-").parent)
    if as_json:
        click.echo(json.dumps(made, indent=2, default=str))
    elif as_html:
        click.echo(page.render(made))
    else:
        console.show(made, Console())
        click.echo(f"\nPage: {where / 'index.html'}\nJSON: {where / 'report.json'}")


def make(settings: Settings, worlds: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Ask ClickHouse and Kafka. Raises UnreachableError when ClickHouse does not answer."""
    made = build(reader(settings), produced=_produced(settings), truths=truths(settings),
                 generated_ms=WallClock().now_ms(),
                 members_min=settings.segment_members_min, worlds=worlds,
                 drift_sql=question(settings),
                 group_drift_sql=questions(definitions.compiled(settings.definitions)))
    unknown = worlds - set(made["worlds"])
    if unknown:
        known = sorted(set(made["accounting"]["by_world"]) - {"(unreadable)"})
        raise KairosError(f"--world {sorted(unknown)[0]}: no event of such a tenant was admitted",
                          f"known are: {', '.join(known) or 'none yet'}")
    return made


def write(made: Mapping[str, Any], folder: Path) -> Path:
    """Write report.json and index.html into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(made, indent=2, default=str) + "\n", "utf-8")
    (folder / "index.html").write_text(page.render(made), "utf-8")
    return folder


def _produced(settings: Settings) -> int | None:
    """Records ever produced to events.raw; None when Kafka is down: then the report says so."""
    try:
        return sum(offsets.produced(settings).values())
    except UnreachableError:
        return None


def truths(settings: Settings) -> dict[str, dict[str, Any]]:
    """{world: truth} of every HOME/worlds/<world>.truth.json that a simulator left.

    Raises KairosError when one cannot be read.
    """
    found = {}
    for path in sorted(settings.home.glob("worlds/*.truth.json")):
        try:
            truth = json.loads(path.read_text("utf-8"))
            if truth["lift"] is None:        # nobody was treated: there is no truth to meet
                continue
            truth["lift"] = float(truth["lift"])
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise KairosError(f"{path}: not a truth file: {fault!r}",
                              'it holds {"lift": number, "units": number, "how": text}; '
                              "remove it to report without the truth") from fault
        found[path.name.removesuffix(".truth.json")] = truth
    return found
