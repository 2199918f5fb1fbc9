"""kairos plan, kairos apply: playbook files against what is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from streams import settings as configuration
from streams.adapters import control
from streams.adapters.clock import WallClock
from streams.choose import definitions
from streams.choose.definitions.taking import rows_of
from streams.cli.tenancy import tenant_option
from streams.compose.approval import template_faults
from streams.compose.calls import ComposeParams
from streams.cost import plan as cost_plan
from streams.cost import price_book
from streams.kernel.errors import KairosError, PlaybookError
from streams.kernel.money import to_micros
from streams.pipeline import PLAYBOOKS
from streams.playbooks import form, loading
from streams.playbooks.difference import Change, difference
from streams.playbooks.model import Playbook
from streams.settings import Settings

Published = dict[str, dict[str, Any]]

_FILES = click.argument("files", nargs=-1, type=click.Path(path_type=Path))
_TENANT = tenant_option("Whose playbooks these are.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_HEAD = "(of no feature)"
_FRONTIER_SHARE = 0.1       # of messages; the plan's assumption for how many customers are VIPs


@dataclass(frozen=True, slots=True)
class Planned:
    """One file against what is published. `playbook` has the version it would get."""

    file: Path
    text: str
    playbook: Playbook
    version_before: int
    changes: list[Change]


@click.command()
@_FILES
@_TENANT
@_JSON
@click.option("--offline", is_flag=True, help="Compare with nothing; needs no broker.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of playbook files and stop.")
def plan(files: Sequence[Path], tenant: str, as_json: bool, offline: bool, schema: bool) -> None:
    """Check playbook FILES and show what would change.

    The folder of your own features and segments (KAIROS_DEFINITIONS) is checked first; without
    FILES it alone is, and how much room its features take in rows is shown.
    """
    if schema:
        click.echo(json.dumps(form.json_schema(), indent=1))
        return
    settings = configuration.load()
    if settings.definitions is not None and not files:
        _show_definitions(settings, definitions_in_force(settings, as_json=as_json),
                          as_json=as_json)
        return
    loaded = _load_all(files, tenant, as_json=as_json)
    published = {} if offline else control.read_compacted(settings, PLAYBOOKS)
    planned = [_against(published, path, text, playbook) for path, text, playbook in loaded]
    costs = _costs(settings)
    if as_json:
        click.echo(json.dumps({"playbooks": [_as_json(one) for one in planned],
                               "cost": [asdict(volume) for volume in costs]}))
        return
    for one in planned:
        _show(one)
    _show_costs(settings, costs)


@click.command()
@_FILES
@_TENANT
@_JSON
@click.option("--withdraw", multiple=True, metavar="NAME", help="Take a playbook out of force.")
def apply(files: Sequence[Path], tenant: str, as_json: bool, withdraw: Sequence[str]) -> None:
    """Publish playbook FILES that have changed."""
    settings = configuration.load()
    loaded = _load_all(files, tenant, as_json=as_json) if files or not withdraw else []
    published = control.read_compacted(settings, PLAYBOOKS)
    planned = [_against(published, path, text, playbook) for path, text, playbook in loaded]
    now_ms = WallClock().now_ms()
    for one in planned:
        if one.changes:
            record = loading.to_record(one.playbook, one.text, published_ms=now_ms)
            _publish(settings, record)
    gone = [_withdrawn(published, tenant, name, now_ms) for name in withdraw]
    for record in gone:
        _publish(settings, record)
    if as_json:
        click.echo(json.dumps({"playbooks": [_as_json(one) for one in planned],
                               "withdrawn": [record["name"] for record in gone]}))
        return
    for one in planned:
        word = f"published as version {one.playbook.version}" if one.changes else "unchanged"
        click.echo(f"{one.playbook.name}: {word}")
    for record in gone:
        click.echo(f"{record['name']}: withdrawn")


def _load_all(files: Sequence[Path], tenant: str, *,
              as_json: bool) -> list[tuple[Path, str, Playbook]]:
    """Every file's playbook. With faults anywhere, all of them are printed and nothing is done."""
    if not files:
        raise KairosError("no playbook file was named", "kairos plan my-playbook.yml")
    loaded: list[tuple[Path, str, Playbook]] = []
    faults: list[PlaybookError] = []
    known = definitions_in_force(configuration.load(), as_json=as_json)
    for path in files:
        found = loading.check(path, known.feature_names, known.segment_names,
                              known.rhythms, known.figures)
        if not found:
            playbook = loading.load(path, tenant=tenant)
            found = template_faults(playbook, str(path))
            loaded.append((path, path.read_text("utf-8"), playbook))
        faults += found
    names = [playbook.name for _, _, playbook in loaded]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise KairosError(f"two files are the playbook '{name}'", "give each its own name")
    _raise_all(faults, as_json=as_json)
    return loaded


def definitions_in_force(settings: Settings, *, as_json: bool) -> definitions.Definitions:
    """The features and segments in force. Raises DefinitionError when any of them does not hold."""
    _raise_all(definitions.check(settings.definitions), as_json=as_json)
    return definitions.load(settings.definitions)


def _show_definitions(settings: Settings, found: definitions.Definitions, *,
                      as_json: bool) -> None:
    """Versions, and which feature takes how many bytes of a row."""
    person, things = rows_of(found)
    if as_json:
        click.echo(json.dumps({"definitions": found.summary, "row": asdict(person),
                               "things": [asdict(each) for each in things]}))
        return
    click.echo(f"{settings.definitions}: {found.summary}")
    for each in (person, *things):
        most = f" of at most {each.most:,}" if each.most else ""
        times = f", {each.keep:,} rows kept" if each.keep else ""
        click.echo(f"  bytes in the row of every {each.of}: {each.bytes:,}{most}{times}")
        width = max([len(_HEAD), *(len(room.name) for room in each.features)])
        for room in sorted(each.features, key=lambda room: -room.bytes):
            shared = f"  and {room.shared:,} that others keep already" if room.shared else ""
            click.echo(f"    {room.name:<{width}} {room.bytes:>7,}{shared}")
        click.echo(f"    {_HEAD:<{width}} {each.head:>7,}")


def _raise_all(faults: Sequence[KairosError], *, as_json: bool) -> None:
    """Print all faults but the last and raise that one; as JSON raise one that says them all."""
    if faults and as_json:
        raise KairosError("; ".join(fault.message for fault in faults), faults[0].remedy)
    for fault in faults[:-1]:
        click.secho(f"kairos: {fault.message}", fg="red", err=True)
        click.echo(f"        {fault.remedy}", err=True)
    if faults:
        raise faults[-1]


def _against(published: Published, path: Path, text: str, playbook: Playbook) -> Planned:
    record = published.get(loading.record_key(playbook.tenant, playbook.name))
    before = None if record is None else _standing(record)
    version_before = 0 if record is None else int(record["version"])
    changes = difference(before, playbook)
    version = version_before + 1 if changes else version_before
    return Planned(path, text, replace(playbook, version=version), version_before, changes)


def _standing(record: dict[str, Any]) -> Playbook | None:
    """The published playbook; None when an older build wrote it in a form that no longer holds."""
    try:
        return loading.from_record(record)
    except PlaybookError:
        return None


def _withdrawn(published: Published, tenant: str, name: str, now_ms: int) -> dict[str, Any]:
    record = published.get(loading.record_key(tenant, name))
    if record is None:
        raise KairosError(f"no playbook '{name}' is published for tenant '{tenant}'",
                          "kairos plan shows what is")
    return {**record, "active": False, "version": record["version"] + 1, "published_ms": now_ms}


def _publish(settings: Settings, record: dict[str, Any]) -> None:
    control.publish(settings, PLAYBOOKS, loading.record_key(record["tenant"], record["name"]),
                    record)


def _as_json(one: Planned) -> dict[str, Any]:
    return {"file": str(one.file), "tenant": one.playbook.tenant, "name": one.playbook.name,
            "version_before": one.version_before, "version": one.playbook.version,
            "changed": bool(one.changes), "changes": [asdict(change) for change in one.changes]}


def _show(one: Planned) -> None:
    name = f"{one.playbook.name} ({one.playbook.tenant})"
    if not one.changes:
        click.echo(f"{name}: unchanged, version {one.version_before}")
        return
    was = f"version {one.version_before} → " if one.version_before else "new, version "
    click.secho(f"{name}: {was}{one.playbook.version}", bold=True)
    width = max(len(change.what) for change in one.changes)
    for change in one.changes:
        before = "" if change.before is None else f"{change.before} → "
        after = "removed" if change.after is None else change.after
        mark = "~" if change.before is not None and change.after is not None else (
            "-" if change.after is None else "+")
        click.echo(f"  {mark} {change.what:<{width}}  {before}{after}")


def _costs(settings: Settings) -> list[cost_plan.VolumePlan]:
    """What a month costs at three volumes with the models that are configured."""
    book = price_book.load(Path(settings.price_book) if settings.price_book
                           else price_book.SHIPPED)
    mix: dict[str, float] = {}
    if settings.model_url:
        mix = {settings.model_small: 1 - _FRONTIER_SHARE}
        mix[settings.model_frontier] = mix.get(settings.model_frontier, 0) + _FRONTIER_SHARE
    return cost_plan.volume_plan(book, mix=mix, at_ms=WallClock().now_ms(),
                                 budget_usd_micros_day=to_micros(settings.budget_usd_day))


def _show_costs(settings: Settings, costs: list[cost_plan.VolumePlan]) -> None:
    if not settings.model_url:
        click.echo("\nCost of writing: $0; no model server is set (KAIROS_MODEL_URL), so the "
                   "offline grammar writes.")
        return
    call, segments = cost_plan.CALL, ", ".join(ComposeParams().frontier_segments)
    click.echo(f"\nCost of writing, for {call.sent} tokens in and {call.written} out a message, "
               f"{_FRONTIER_SHARE:.0%} of them by {settings.model_frontier} ({segments}), the "
               f"rest by {settings.model_small},\nwithin ${settings.budget_usd_day:g} a day:")
    for volume in costs:
        click.echo(f"  {volume.messages:>11,} a month   ${volume.usd_per_thousand:.4f} per "
                   f"thousand   {volume.by_model:.1%} by a model   "
                   f"(${volume.usd_per_thousand_unlimited:.4f} without the limit)")
