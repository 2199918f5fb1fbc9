"""kairos replay: a file of history, and a mapping, become events in event time."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from streams import settings as configuration
from streams.adapters.clock import WallClock
from streams.adapters.history import KafkaBus, broker_id
from streams.kernel.errors import KairosError
from streams.kernel.moments import show_moment
from streams.settings import Settings
from streams.worlds.loading import load
from streams.worlds.mapping import Mapping
from streams.worlds.preparing import Prepared, prepare
from streams.worlds.progress import Progress as Standing
from streams.worlds.progress import ProgressFile, signature
from streams.worlds.replaying import Pace
from streams.worlds.replaying import Standing as Slice
from streams.worlds.replaying import replay as run_replay

_TENANT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


class WallPace(WallClock):
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Files:
    """Where a replay keeps its books, below HOME/replay."""

    progress: Path
    rejects: Path
    folder: Path

    @classmethod
    def of(cls, settings: Settings, name: str) -> Files:
        return cls(settings.path("replay", f"{name}.progress.json"),
                   settings.path("replay", f"{name}.rejects.jsonl"), settings.path("replay", "-")
                   .parent)


class _Speed(click.ParamType):
    name = "MAX|DAYS"

    def convert(self, value: Any, param: click.Parameter | None,
                ctx: click.Context | None) -> float | None:
        if value is None or str(value).upper() == "MAX":
            return None
        try:
            days = float(value)
        except ValueError:
            days = 0.0
        if not 0 < days < float("inf"):
            self.fail("give MAX or virtual days per second, like 6.5", param, ctx)
        return days


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mapping", "mapping_file", required=True, type=click.Path(path_type=Path),
              help="The YAML file that says how rows become events (docs/replay.md).")
@click.option("--tenant", default="", help="Use this tenant instead of the mapping's.")
@click.option("--speed", type=_Speed(), default="MAX", show_default=True,
              help="Virtual days per second, or MAX: as fast as the broker takes them.")
@click.option("--resume/--restart", default=True, help="Go on where the last run stopped "
              "(the default), or begin again.")
@click.option("--limit", type=click.IntRange(min=1), help="Read at most so many rows.")
@click.option("--strict", is_flag=True, help="Exit 1 when a row is rejected; send nothing then.")
@click.option("--check", is_flag=True, help="Read and report only; send nothing. Needs no broker.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def replay(file: Path, mapping_file: Path, tenant: str, speed: float | None, resume: bool,
           limit: int | None, strict: bool, check: bool, as_json: bool) -> None:
    """Replay FILE (CSV, JSON Lines or Parquet, also gzipped) as events, in event time.

    Rows that do not fit are listed with line and reason in HOME/replay/<name>.rejects.jsonl, and
    counted: rows read = produced + rejected + left out.
    """
    settings = configuration.load()
    mapping = _with_tenant(load(mapping_file), tenant)
    files, rows_max = Files.of(settings, mapping.name), limit or 0
    with _Bars(quiet=as_json) as bars, prepare(
            file, mapping, folder=files.folder, rejects=files.rejects, rows_max=rows_max,
            progress=bars.reading) as prepared:
        if strict and prepared.counts.rejected:
            _print(prepared, files, None, as_json)
            raise KairosError(f"{prepared.counts.rejected.total()} rows do not fit the mapping",
                              f"see {files.rejects}")
        standing, again = None, False
        if not check:
            book = ProgressFile(files.progress)
            start = book.read(signature(file, mapping_file, tenant=mapping.tenant,
                                        rows_max=rows_max, broker=broker_id(settings)),
                              restart=not resume)
            again = start.done
            standing = start if again else produce(settings, prepared, mapping, book, start,
                                                   days_per_s=speed, watch=bars.slice)
    _print(prepared, files, standing, as_json, again=again)


def produce(settings: Settings, prepared: Prepared, mapping: Mapping, book: ProgressFile,
            start: Standing, *, days_per_s: float | None, watch: Callable[[Slice], None],
            hold: Callable[[], None] = lambda: None, pace: Pace | None = None) -> Standing:
    """Send what is prepared to the broker. Raises UnreachableError."""
    bus = KafkaBus(settings, f"kairos-replay-{mapping.name}")
    try:
        return run_replay(prepared, mapping, bus, book, start, pace=pace or WallPace(),
                          days_per_s=days_per_s, hold=hold, watch=watch)
    finally:
        bus.close()


def _with_tenant(mapping: Mapping, tenant: str) -> Mapping:
    if not tenant:
        return mapping
    if len(tenant) > 64 or set(tenant) - set(_TENANT):
        raise KairosError(f"'{tenant}' is no name of a tenant",
                          "use letters, digits, '.', '_' and '-'")
    return replace(mapping, tenant=tenant)


class _Bars:
    """Two bars on stderr: reading, and producing with rate and virtual date."""

    def __init__(self, *, quiet: bool) -> None:
        self._bars = Progress(TextColumn("{task.description:<9}"), BarColumn(),
                              MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
                              console=Console(stderr=True), disable=quiet,
                              transient=not sys.stderr.isatty())
        self._read = self._bars.add_task("reading", total=100, note="")
        self._made: Any = None
        self._began = time.monotonic()
        self._first = 0

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def reading(self, fraction: float, rows: int) -> None:
        self._bars.update(self._read, completed=round(100 * fraction), note=f"{rows:,} rows")

    def slice(self, standing: Slice) -> None:
        if self._made is None:
            self._bars.update(self._read, completed=100)
            self._made = self._bars.add_task("producing", total=standing.events_total, note="")
            self._began, self._first = time.monotonic(), standing.events
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = (standing.events - self._first) / seconds
        self._bars.update(self._made, completed=standing.events, note=(
            f"{rate:,.0f} events/s   it is {show_moment(standing.clock_ms)[:16]}"))


def _print(prepared: Prepared, files: Files, standing: Standing | None, as_json: bool, *,
           again: bool = False) -> None:
    counts = prepared.counts
    found = {**counts.as_dict(), "catalogue_items": len(prepared.catalogue),
             "rejects_file": str(files.rejects),
             "sent": standing.position if standing else 0,
             "clock": show_moment(standing.clock_ms) if standing and standing.position else None}
    if as_json:
        click.echo(json.dumps(found))
        return
    rejected, left_out = counts.rejected.total(), counts.left_out.total()
    click.echo(f"rows read {counts.read:,} = in events {counts.produced:,} + rejected "
               f"{rejected:,} + left out {left_out:,}")
    kinds = ", ".join(f"{count:,} {word}" for word, count in counts.types.most_common())
    click.echo(f"events {counts.events:,}" + (f" ({kinds})" if kinds else "")
               + (f"; {len(prepared.catalogue):,} catalogue items" if prepared.catalogue else ""))
    for title, reasons in (("rejected", counts.rejected), ("left out", counts.left_out)):
        for reason, count in reasons.most_common():
            click.echo(f"  {title}: {count:,} {reason}")
    if rejected:
        click.echo(f"  each with its line in {files.rejects}")
    if not counts.read:
        click.echo("the file holds no rows")
    elif standing is not None and again:
        click.echo("all of it was sent before; --restart sends it again")
    elif standing is not None:
        click.echo(f"sent {standing.position:,} events; the tenant's clock stands at "
                   f"{show_moment(standing.clock_ms)[:16]}")
