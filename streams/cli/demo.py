"""kairos demo: sets everything up, runs two worlds through the pipeline, and says what came out."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import click

from infra import processes
from infra.kafka import broker
from streams import settings as configuration
from streams.cli.demo_report import conclude
from streams.cli.demo_worlds import DEFINITIONS, Plan, run_worlds
from streams.cli.lifecycle import refuse_bad_files
from streams.settings import Settings

SEED = 7


@dataclass(frozen=True, slots=True)
class _Form:
    """The long and the short form of the worlds."""

    shoppers: int
    days: float
    slices_per_s: float
    retail_days_per_s: float


LONG = _Form(shoppers=2500, days=10.0, slices_per_s=2.6, retail_days_per_s=4.6)
SHORT = _Form(shoppers=625, days=6.0, slices_per_s=3.2, retail_days_per_s=8.5)


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running afterwards.")
@click.option("--seed", type=click.IntRange(min=0), default=SEED, show_default=True,
              help="Dice of the simulated storefront.")
@click.option("--short", is_flag=True, help="A quarter of the shoppers; half the time.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def demo(keep: bool, seed: int, short: bool, as_json: bool) -> None:
    """Run a real retailer's year and a simulated storefront through the pipeline; about 3 minutes.

    Everything the demo writes lies in HOME/demo, which each demo wipes first: your own data is
    not touched. It ends with a report and where to look.
    """
    began = time.monotonic()
    base = configuration.load()
    refuse_bad_files(base, as_json=as_json)         # before what an earlier demo left is wiped
    settings = fresh_home(base)
    say = _Say(quiet=as_json)
    say(f"demo in {settings.home}, seed {seed}")
    kept = False
    try:
        form = SHORT if short else LONG
        processes.up(settings, on_progress=say.part)
        worlds = run_worlds(settings, Plan(seed, form.shoppers, form.days, form.slices_per_s,
                                           form.retail_days_per_s), quiet=as_json)
        result = conclude(settings, worlds, keep=keep)
        result["seconds"] = round(time.monotonic() - began, 1)
        kept = keep
    finally:
        if not kept:
            signal.signal(signal.SIGINT, signal.SIG_IGN)    # a second Ctrl-C must not leave parts
            processes.down(settings, on_progress=say.part)
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo("\n".join(result["words"]))
    click.echo(f"\ndone in {result['seconds']:.0f} s; " + (
        f"everything is still running: KAIROS_HOME={settings.home} kairos down stops it"
        if keep else "everything is stopped"))


def fresh_home(base: Settings) -> Settings:
    """Settings with HOME/demo as their home: emptied, with Kafka's jars shared with HOME. The
    definitions are the worlds' own, unless KAIROS_DEFINITIONS names others.

    Raises SetupError when the jars cannot be fetched.
    """
    settings = base.model_copy(update={"home": base.home / "demo",
                                       "definitions": base.definitions or DEFINITIONS})
    if settings.home.exists():
        processes.down(settings)                        # an earlier demo that was kept
        shutil.rmtree(settings.home)
    settings.home.mkdir(parents=True)
    if settings.embedded_kafka:
        jars: Path = broker.ensure_jars(base)
        link = broker.libs(settings)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(jars, target_is_directory=True)
    return settings


class _Say:
    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)

    def part(self, part: str, word: str) -> None:
        self(f"  {part:<11} {word}")


