"""kairos segments: learn kinds of people from what decisions knew of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from streams import settings as configuration
from streams.adapters.clock import WallClock
from streams.choose import definitions
from streams.choose.definitions import learning
from streams.cli.reading import reader
from streams.kernel.errors import KairosError
from streams.kernel.moments import show_moment
from streams.kernel.purposes import TRAIN
from streams.settings import Settings

PEOPLE_MAX = 50_000
# The newest decision of each person who agreed to be learned from; who, when more than PEOPLE_MAX,
# is chosen by a hash of their id, so that the same people are chosen again.
_SQL = """\
SELECT argMax(features_json, (moment_ms, decision_id)) AS features
FROM decisions
WHERE tenant = {tenant:String} OR {tenant:String} = ''
GROUP BY tenant, profile_id
HAVING bitAnd(argMax(purposes, (moment_ms, decision_id)), {train:Int32}) != 0
ORDER BY sipHash64(profile_id), tenant, profile_id
LIMIT {most:UInt32}"""


@click.group("segments")
def segments() -> None:
    """Learn kinds of people, to ask for them in segments.yml."""


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

    Only people who agreed to `train` are learned from. Clusters of fewer people than
    KAIROS_SEGMENT_MEMBERS_MIN are refused: ask for fewer. Ask for a kind in segments.yml by
    {cluster: NAME}, check with `kairos plan`, and start the workers anew.
    """
    settings = configuration.load()
    where = out or (settings.definitions / definitions.LEARNED if settings.definitions else None)
    if where is None:
        raise KairosError("there is no folder of your own definitions to write clusters.yml to",
                          "set KAIROS_DEFINITIONS, or say --out FILE")
    known = definitions.load(settings.definitions).features
    specs = {spec.name: spec for spec in known}
    for name in wanted:
        if name not in specs:
            raise KairosError(f"--feature {name}: there is no such feature",
                              f"declared are {', '.join(sorted(specs))}")
    rows = reader(settings)(_SQL, {"tenant": tenant, "train": TRAIN, "most": PEOPLE_MAX})
    found = learning.learn(values_of(rows, wanted or tuple(specs)), specs, clusters=count,
                           seed=seed)
    _refuse_small(found, settings)
    where.write_text(learning.file_of(found, tenant=tenant, version=_next_version(where),
                                      learned=show_moment(WallClock().now_ms())), "utf-8")
    _show(found, where)


def values_of(rows: Sequence[dict[str, Any]], names: Sequence[str],
              ) -> dict[str, list[float | None]]:
    """Each feature's values, one per row; None where a decision had none."""
    read = [orjson.loads(row["features"]) for row in rows]
    return {name: [each.get(name, {}).get("value") for each in read] for name in names}


def _refuse_small(found: learning.Learned, settings: Settings) -> None:
    if min(found.people) < settings.segment_members_min:
        raise KairosError(
            f"the smallest of these clusters has fewer than {settings.segment_members_min} people "
            "(KAIROS_SEGMENT_MEMBERS_MIN)", "ask for fewer --clusters, or wait for more people")


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
