"""kairos segments: learn kinds of people, or name people one by one, to ask for in segments.yml."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
import orjson
from rich.console import Console
from rich.table import Table

from infra import secrets
from streams import settings as configuration
from streams.adapters.clock import WallClock
from streams.choose import definitions
from streams.choose.definitions import learning
from streams.cli.reading import reader
from streams.kernel.errors import KairosError
from streams.kernel.moments import show_moment
from streams.kernel.purposes import TRAIN
from streams.privacy.pseudonyms import Pseudonyms
from streams.settings import Settings

_LIST_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
PEOPLE_MAX = 50_000
# The newest decision of each person who agreed to be learned from, and has not taken it back since.
# Who, when more than PEOPLE_MAX, is chosen by a hash of their id: the same people are chosen again.
_SQL = """\
SELECT argMax(features_json, (moment_ms, decision_id)) AS features
FROM decisions
WHERE (tenant = {tenant:String} OR {tenant:String} = '') AND (tenant, profile_id) NOT IN (
    SELECT tenant, profile_id FROM consents WHERE purpose = 'train' AND NOT granted)
GROUP BY tenant, profile_id
HAVING bitAnd(argMax(purposes, (moment_ms, decision_id)), {train:Int32}) != 0
ORDER BY sipHash64(profile_id), tenant, profile_id
LIMIT {most:UInt32}"""


@click.group("segments")
def segments() -> None:
    """Learn kinds of people, or list people, to ask for them in segments.yml."""


@segments.command("learn")
@click.option("--clusters", "count", type=click.IntRange(2, 20), default=4, show_default=True,
              help="How many kinds.")
@click.option("--tenant", default="", metavar="TENANT", help="Only this tenant's people.")
@click.option("--feature", "wanted", multiple=True, metavar="NAME",
              help="Only by this feature (repeatable); without it, by all that can tell people "
              "apart.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True,
              help="The same seed and people give the same file.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to; default: clusters.yml in the folder KAIROS_DEFINITIONS.")
def learn(count: int, tenant: str, wanted: tuple[str, ...], seed: int, out: Path | None) -> None:
    """Find kinds of people by k-means over the features of everybody's newest decision.

    Only people who agreed to `train`, and stand by it, are learned from. Clusters of fewer people
    than KAIROS_SEGMENT_MEMBERS_MIN are refused: ask for fewer. Ask for a kind in segments.yml by
    {cluster: NAME}, check with `kairos plan`, and start the workers anew.
    """
    settings = configuration.load()
    where = out or _own_folder(settings, definitions.LEARNED) / definitions.LEARNED
    known = definitions.load(settings.definitions).features
    specs = {spec.name: spec for spec in known}
    for name in wanted:
        if name not in specs:
            raise KairosError(f"--feature {name}: there is no such feature",
                              f"declared are {', '.join(sorted(specs))}")
    rows = reader(settings)(_SQL, {"tenant": tenant, "train": TRAIN, "most": PEOPLE_MAX})
    found = learning.learn(values_of(rows, wanted or tuple(specs)), specs, clusters=count,
                           seed=seed)
    refuse_small(found, settings.segment_members_min)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(learning.file_of(found, tenant=tenant, version=_next_version(where),
                                      learned=show_moment(WallClock().now_ms())), "utf-8")
    _show(found, where)


@segments.command("list")
@click.argument("name")
@click.argument("users", type=click.File("r", encoding="utf-8"))
@click.option("--tenant", default="default", show_default=True, help="Whose users they are.")
@click.option("--column", metavar="NAME",
              help="The file is CSV with a head, and this column has the user ids.")
@click.option("--anonymous", is_flag=True, help="They are ids of unknown visitors, not of users.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Where to; default: lists/NAME.txt in the folder KAIROS_DEFINITIONS.")
def list_people(name: str, users: TextIO, tenant: str, column: str | None, anonymous: bool,
                out: Path | None) -> None:
    """Make the list NAME of the app's user ids in the file USERS ('-': standard input), one a line.

    The list holds pseudonyms, made with this installation's key; the user ids go no further. Ask
    for it in segments.yml by {list: NAME}, check with `kairos plan`, and start the workers anew.
    """
    settings = configuration.load()
    if not _LIST_NAME.fullmatch(name):
        raise KairosError(f"{name!r} is no name of a list",
                          "lower-case letters, digits and _, at most 60")
    where = out or _own_folder(settings, f"lists/{name}.txt") / definitions.LISTS / (
        name + definitions.LIST_SUFFIX)
    secrets.ensure(settings)        # a list may be wanted before anything was ever started
    pseudonyms = Pseudonyms(bytes.fromhex(secrets.read(settings, "pseudonym_key")))
    id_of = pseudonyms.anonymous if anonymous else pseudonyms.known
    ids = sorted({id_of(tenant, user) for user in _users(users, column)})
    if not ids:
        raise KairosError(f"{users.name} names nobody", "write one user id per line")
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text("".join(f"{each}\n" for each in ids), "utf-8")
    click.echo(f"{len(ids):,} people written to {where}; ask for them in segments.yml: "
               f"{{list: {where.stem}}}")


def _users(users: TextIO, column: str | None) -> Iterator[str]:
    """User ids of a file: its lines, or one column of a CSV; empty ones are left out."""
    # Spreadsheets put a mark before a text, which is no part of the first id.
    lines = (line if number else line.removeprefix("\ufeff") for number, line in enumerate(users))
    try:
        if column is None:
            yield from filter(None, map(str.strip, lines))
            return
        table = csv.DictReader(lines)
        if column not in (table.fieldnames or ()):
            raise KairosError(f"--column {column}: {users.name} has no such column",
                              f"it has {', '.join(table.fieldnames or ['none'])}")
        yield from filter(None, (str(row[column] or "").strip() for row in table))
    except (UnicodeDecodeError, csv.Error) as fault:
        raise KairosError(f"{users.name} cannot be read: {fault}",
                          "save it as UTF-8 text") from fault


def _own_folder(settings: Settings, what: str) -> Path:
    if settings.definitions is None:
        raise KairosError(f"there is no folder of your own definitions to write {what} to",
                          "set KAIROS_DEFINITIONS, or say --out FILE")
    return settings.definitions


def values_of(rows: Sequence[dict[str, Any]], names: Sequence[str],
              ) -> dict[str, list[float | None]]:
    """Each feature's values, one per row; None where a decision had none."""
    read = [orjson.loads(row["features"]) for row in rows]
    return {name: [_number(each.get(name, {}).get("value")) for each in read] for name in names}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None      # texts are no axes


def refuse_small(found: learning.Learned, members_min: int) -> None:
    """Raises KairosError when a cluster has fewer people than `members_min`."""
    least = min(range(len(found.people)), key=found.people.__getitem__)
    if found.people[least] < members_min:
        name, marks = found.clusters.names[least], ", ".join(found.marks[least])
        raise KairosError(
            f"the smallest of these clusters, {name}, has fewer than "
            f"{members_min} people (KAIROS_SEGMENT_MEMBERS_MIN)"
            + (f"; what sets it apart is {marks}" if marks else ""),
            "ask for fewer --clusters, wait for more people, or leave out what sets a few apart: "
            "say with --feature what to learn from, once for each feature")


def _next_version(where: Path) -> int:
    """One more than the file that is there says; what cannot be read is not overwritten."""
    return learning.version_of(where) + 1 if where.exists() else 1


def _show(found: learning.Learned, where: Path) -> None:
    table = Table("cluster", "people", "share")
    for (name, _), people in zip(found.clusters.centroids, found.people, strict=True):
        table.add_row(name, f"{people:,}", f"{people / sum(found.people):.1%}")
    console = Console()
    console.print(table)
    console.print(f"by {', '.join(axis.feature for axis in found.clusters.axes)}", highlight=False)
    console.print(f"silhouette {found.silhouette:.2f} (1 is best, below 0.25 is poor)",
                  highlight=False)
    click.echo(f"written to {where}; ask for a kind in segments.yml: {{cluster: NAME}}")
