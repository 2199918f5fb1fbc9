"""The demo's two worlds, side by side through one pipeline, with live progress."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sinks.client import connect
from sinks.consumer import GROUP as SINK_GROUP
from sinks.topics import BY_TOPIC
from streams.adapters.clock import WallClock
from streams.adapters.history import KafkaBus, Offsets, Tide
from streams.adapters.storefront import MailboxReader, ShopperBrowser
from streams.cli.replay import Files, produce
from streams.kernel.errors import UnreachableError
from streams.kernel.moments import show_moment
from streams.pipeline import BY_NAME, STAGES
from streams.playbooks.loading import load as load_playbook
from streams.playbooks.model import Playbook
from streams.settings import PROJECT, Settings
from streams.worlds.loading import load as load_mapping
from streams.worlds.preparing import Counts, prepare
from streams.worlds.progress import Progress as ReplayProgress
from streams.worlds.progress import ProgressFile
from streams.worlds.replaying import Standing
from streams.worlds.storefront import shop as shops
from streams.worlds.storefront.running import Run, Scene
from streams.worlds.storefront.simulation import Storefront, World, start_of

WORLDS = PROJECT / "streams" / "worlds"
RETAIL_FILE = WORLDS / "data" / "online_retail_ii_2009_2010.parquet"
RETAIL_MAPPING = WORLDS / "retail.yml"
PLAYBOOKS = WORLDS / "playbooks"
DEFINITIONS = WORLDS / "definitions"
_RETAIL_LAG_MAX = 3_000          # a flood of invoices would make the storefront's mail late
_ARMS = "SELECT decision_id, arm FROM decisions WHERE tenant = {tenant:String}"
_ARM_WAIT_S = 10.0
_DRAIN_WAIT_S = 240.0
_TELL_S = 10.0
_STILL_S = 90.0


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    shoppers: int
    days: float
    slices_per_s: float
    retail_days_per_s: float


@dataclass(slots=True)
class Played:
    """What the worlds did, for the verdict and the truth."""

    storefront: Storefront
    playbook: Playbook
    retail: Counts = field(default_factory=Counts)
    followed: Counter[str] = field(default_factory=Counter)
    mails: int = 0


class _Halted(Exception):
    """Another world failed: this one stops too."""


class _Pace(WallClock):
    """The wall clock, whose sleep ends early when the worlds are halted."""

    def __init__(self, halt: threading.Event) -> None:
        self._halt = halt

    def sleep(self, seconds: float) -> None:
        if self._halt.wait(seconds):
            raise _Halted


def run_worlds(settings: Settings, plan: Plan, *, quiet: bool) -> Played:
    """Publish the playbooks, run both worlds, wait until every stage has worked through.

    Raises KairosError when a world or the pipeline fails; the other world is stopped then.
    """
    playbooks = publish_playbooks(settings)
    world = _storefront(settings, plan, playbooks["storefront", "abandoned-cart"])
    played = Played(world, playbooks["storefront", "abandoned-cart"])
    halt = threading.Event()
    with _Bars(settings, quiet=quiet) as bars, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(partial(_retail, settings, plan, played, halt, bars)),
                pool.submit(partial(_shoppers, settings, plan, played, halt, bars))]
        try:
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            if not all(job.done() and job.exception() is None for job in jobs):
                halt.set()
        faults = [fault for job in jobs if (fault := job.exception()) is not None]
        for fault in sorted(faults, key=lambda one: isinstance(one, _Halted)):
            raise fault
        drain(settings, bars.lag)
    return played


def publish_playbooks(settings: Settings) -> dict[tuple[str, str], Playbook]:
    """Publish the worlds' own playbooks, version 1. Raises PlaybookError, UnreachableError."""
    found: dict[tuple[str, str], Playbook] = {}
    bus = KafkaBus(settings, "kairos-demo-playbooks")
    try:
        for path in sorted(PLAYBOOKS.glob("*/*.yml")):
            playbook = load_playbook(path, tenant=path.parent.name)
            found[playbook.tenant, playbook.name] = playbook
            bus.playbook(playbook, path.read_text("utf-8"), version=1,
                         published_ms=WallClock().now_ms())
        bus.settle()
    finally:
        bus.close()
    return found


def _storefront(settings: Settings, plan: Plan, playbook: Playbook) -> Storefront:
    now_ms = WallClock().now_ms()
    world = World(seed=plan.seed, shoppers=plan.shoppers, days=plan.days,
                  start_ms=start_of(now_ms, days=plan.days, window_ms=playbook.window_ms),
                  window_ms=playbook.window_ms, event_bytes_max=settings.event_bytes_max,
                  strategies={variant.name: variant.strategy for variant in playbook.variants})
    return Storefront(world, shops.load())


def _retail(settings: Settings, plan: Plan, played: Played, halt: threading.Event,
            bars: _Bars) -> None:
    mapping = load_mapping(RETAIL_MAPPING)
    files, offsets, pace = Files.of(settings, mapping.name), Offsets(settings), _Pace(halt)

    def hold() -> None:
        until_s = time.monotonic() + _STILL_S
        while (left := offsets.lag(BY_NAME["admit"])) > _RETAIL_LAG_MAX:
            if time.monotonic() > until_s:
                raise UnreachableError(f"admission has not taken {left:,} events for "
                                       f"{_STILL_S:.0f} s",
                                       f"see {settings.home / 'logs' / 'worker-1.log'}")
            pace.sleep(0.2)

    with prepare(RETAIL_FILE, mapping, folder=files.folder, rejects=files.rejects,
                 progress=bars.retail_reading) as prepared:
        played.retail = prepared.counts
        produce(settings, prepared, mapping, ProgressFile(files.progress), ReplayProgress("demo"),
                days_per_s=plan.retail_days_per_s, watch=bars.retail, hold=hold, pace=pace)


def _shoppers(settings: Settings, plan: Plan, played: Played, halt: threading.Event,
              bars: _Bars) -> None:
    bus, inbox = KafkaBus(settings, "kairos-storefront"), MailboxReader(settings)
    browser, tide, pace = ShopperBrowser(), Tide(settings), _Pace(halt)
    try:
        run = Run(played.storefront, bus, inbox, browser, tide, pace,
                  arm_of=_Arms(settings, played.playbook.tenant, pace),
                  slices_per_s=plan.slices_per_s, watch=bars.shoppers)
        run.go()
        played.mails = run.mails
    finally:
        browser.close()
        tide.close()
        inbox.close()
        bus.close()
    played.followed = browser.done


class _Arms:
    """The arm of a decision, from ClickHouse: for mail that does not say its arm itself."""

    def __init__(self, settings: Settings, tenant: str, pace: _Pace) -> None:
        self._settings, self._tenant, self._pace = settings, tenant, pace
        self._known: dict[str, str] = {}

    def __call__(self, decision_id: str) -> str:
        """"" when the decision does not land within ten seconds."""
        end = time.monotonic() + _ARM_WAIT_S
        while decision_id not in self._known and time.monotonic() < end:
            client = connect(self._settings, user="reader")
            try:
                found = client.query(_ARMS, parameters={"tenant": self._tenant}).result_rows
            finally:
                client.close()
            self._known = {str(row[0]): str(row[1]) for row in found}
            if decision_id not in self._known:
                self._pace.sleep(0.3)
        return self._known.get(decision_id, "")


def drain(settings: Settings, watch: Callable[[dict[str, int]], None]) -> None:
    """Wait until no stage and not the sink has anything left. Raises UnreachableError."""
    offsets, end = Offsets(settings), time.monotonic() + _DRAIN_WAIT_S
    quiet = 0
    while quiet < 3:                       # three looks: stages answer each other in a circle
        left = {stage.name: offsets.lag(stage) for stage in STAGES}
        left["sink"] = offsets.behind(SINK_GROUP, BY_TOPIC)
        watch(left)
        quiet = 0 if any(left.values()) else quiet + 1
        if time.monotonic() > end:
            waiting = ", ".join(f"{name} {count}" for name, count in left.items() if count)
            raise UnreachableError(f"the pipeline is not through after {_DRAIN_WAIT_S:.0f} s "
                                   f"({waiting} records left)",
                                   f"see the logs in {settings.home / 'logs'}")
        time.sleep(0.5)


class _Bars:
    """A bar for each world, and a line with the lag of every stage."""

    def __init__(self, settings: Settings, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(TextColumn("{task.description:<11}"), BarColumn(bar_width=30),
                              TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
                              TextColumn("{task.fields[note]}"), console=self._console,
                              disable=quiet or not self._console.is_terminal)
        self._told_s = time.monotonic()
        self._retail = self._bars.add_task("retailer", total=1.0, note="reading the invoices")
        self._shoppers = self._bars.add_task("storefront", total=1.0, note="opening")
        self._lag = self._bars.add_task("lag", total=None, note="")
        self._offsets, self._looked_s = Offsets(settings), 0.0
        self._rates: dict[TaskID, tuple[float, int]] = {}
        self._quiet = quiet

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _note(self, task: TaskID, note: str, *, total: float | None = None,
              completed: float | None = None) -> None:
        """Move a bar; where there is no terminal, say how all of them stand every ten seconds."""
        self._bars.update(task, note=note, total=total, completed=completed)
        if self._quiet or self._console.is_terminal or time.monotonic() - self._told_s < _TELL_S:
            return
        self._told_s = time.monotonic()
        for one in self._bars.tasks:
            share = f"{one.percentage:3.0f} %" if one.total else "     "
            self._console.print(f"  {one.description:<11} {share}  {one.fields['note']}",
                                highlight=False, soft_wrap=True)

    def _rate(self, task: TaskID, count: int) -> float:
        now_s = time.monotonic()
        began_s, first = self._rates.setdefault(task, (now_s, count))
        return (count - first) / max(now_s - began_s, 0.5)

    def retail_reading(self, fraction: float, rows: int) -> None:
        self._note(self._retail, f"reading the invoices: {rows:,} lines")

    def retail(self, standing: Standing) -> None:
        rate = self._rate(self._retail, standing.events)
        self._note(self._retail, f"{standing.events:,} events, {rate:,.0f}/s, it is "
                   f"{show_moment(standing.clock_ms)[:10]}", total=standing.events_total,
                   completed=standing.events)

    def shoppers(self, scene: Scene) -> None:
        rate = self._rate(self._shoppers, scene.sent)
        self._note(
            self._shoppers, f"{scene.sent:,} events, {rate:,.0f}/s, it is "
            f"{show_moment(scene.now_ms)[:13]}h, {scene.mails:,} e-mails read, the road is "
            f"{scene.behind_ms / 3.6e6:.0f} h behind", total=scene.end_ms - scene.start_ms,
            completed=min(scene.now_ms, scene.end_ms) - scene.start_ms)
        if not self._quiet and time.monotonic() - self._looked_s > 2:
            self._looked_s = time.monotonic()
            self.lag({stage.name: self._offsets.lag(stage) for stage in STAGES})

    def lag(self, left: dict[str, int]) -> None:
        self._note(self._lag, "  ".join(f"{name} {count:,}" for name, count in left.items()))


