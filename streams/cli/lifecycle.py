"""up, down, status, clean, doctor: the life of a local Kairos. Thin over `infra`."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from infra import checks, parts, processes, secrets
from infra.kafka import broker
from streams import settings as configuration
from streams.kernel.errors import SetupError
from streams.settings import Settings

_MARKS = {"running": ("up", "green"), "unhealthy": ("unhealthy", "yellow"),
          "died": ("died", "red"), "stopped": ("stopped", "white")}
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON instead of text.")


@click.command()
@click.option("--only", "names", metavar="PART,PART", default="",
              help="Start these parts only, for example kafka,topics.")
@as_json
def up(names: str, json_: bool) -> None:
    """Start everything, in order, and wait until it is healthy."""
    settings = configuration.load()
    chosen = _chosen(settings, names)
    if chosen is None or any(part.name in parts.WORKERS for part in chosen):
        refuse_bad_files(settings, as_json=json_)
    states = processes.up(settings, chosen, on_progress=_quiet if json_ else _progress)
    if json_:
        _print_json({"parts": [asdict(state) for state in states],
                     "addresses": addresses(settings)})
        return
    click.echo()
    _print_addresses(settings)


@click.command()
@as_json
def down(json_: bool) -> None:
    """Stop everything and leave nothing running."""
    settings = configuration.load()
    ended = processes.down(settings, on_progress=_quiet if json_ else _progress)
    if json_:
        _print_json({"stopped": [asdict(one) for one in ended]})
        return
    for one in ended:
        click.echo(f"  {one}")
    if not ended:
        click.echo("nothing was running")


@click.command()
@as_json
def status(json_: bool) -> None:
    """Say how each part is, where it listens and where its credentials lie."""
    settings = configuration.load()
    states = processes.status(settings)
    if json_:
        _print_json({"home": str(settings.home), "parts": [asdict(state) for state in states],
                     "addresses": addresses(settings)})
        return
    for state in states:
        word, colour = _MARKS[state.state]
        since = "" if state.started_ms is None else \
            f"process {state.pid} since {_clock(state.started_ms)}"
        click.echo(f"  {state.name:<11}{click.style(f'{word:<10}', fg=colour)} "
                   f"{state.address:<28} {since}".rstrip())
    click.echo()
    _print_addresses(settings)


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--all", "everything", is_flag=True, help="Remove Kafka's jars too.")
@as_json
def clean(yes: bool, everything: bool, json_: bool) -> None:
    """Stop everything and remove all state: logs, tables, vault, keys, mail, reports.

    Kafka's jars stay, unless --all is given. What is removed cannot be brought back.
    """
    settings = configuration.load()
    if not yes:
        click.confirm(f"Remove all state in {settings.home}, keys included?", abort=True, err=True)
    processes.down(settings, on_progress=_quiet if json_ else _progress)
    removed = _remove(settings, everything=everything)
    if json_:
        _print_json({"removed": removed})
    else:
        click.echo(f"removed {', '.join(removed)}" if removed else "nothing to remove")


@click.command()
@click.option("--only", "wanted", metavar="CHECK,CHECK", default="",
              help="Make these checks only, for example broker,topics.")
@as_json
def doctor(wanted: str, json_: bool) -> None:
    """Check the machine, the parts, the broker's topics, ClickHouse and the definitions.

    Exits 1 when a check fails.
    """
    settings = configuration.load()
    more = {"definitions": lambda: _definitions(settings)}
    only = _listed(wanted, "check", [*checks.names(settings), *more])
    found = checks.doctor(settings, only, more)
    if json_:
        _print_json({"ok": all(check.ok for check in found),
                     "checks": [asdict(check) for check in found]})
    else:
        for check in found:
            mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
            click.echo(f"  {mark} {check.name:<19} {check.detail}")
            if not check.ok and check.remedy:
                click.echo(f"       {'':<19} {check.remedy}")
    if not all(check.ok for check in found):
        raise SystemExit(1)


def _definitions(settings: Settings) -> str:
    """Which features and segments are in force. Raises DefinitionError."""
    from streams.choose import definitions
    where = settings.definitions or "shipped"
    return f"{definitions.load(settings.definitions).summary} ({where})"


def refuse_bad_files(settings: Settings, *, as_json: bool) -> None:
    """Raise what `kairos plan` says of the files that workers read, before anything is started.

    Features, segments, learned clusters and lists of people (DefinitionError) and the price book
    (SettingsError). Playbooks are no files by then: whatever is published has been checked.
    """
    # Late, as these bring numba with them and `kairos status` is to be quick.
    from streams.cli.playbook import definitions_in_force
    from streams.cost import price_book
    definitions_in_force(settings, as_json=as_json)
    price_book.load(Path(settings.price_book) if settings.price_book else price_book.SHIPPED)


def addresses(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every address a person or a program may want, and where its credentials lie.

    Each entry has `address` and `what`; `user` and `password_file` where one is needed; a setting
    that holds a password is named, never its value.
    """
    found: dict[str, dict[str, Any]] = {
        "kafka": {"address": settings.bootstrap, "what": "Kafka bootstrap servers"},
        **_clickhouse_addresses(settings),
        "web": {"address": settings.public_url,
                "what": "links in messages: unsubscribe, click, open"},
        "mailbox": {"address": f"{settings.public_url}/mailbox", "what": "e-mails sent, to read"},
        "report": {"address": f"{settings.public_url}/report", "what": "the newest report"},
        "smtp": {"address": f"{settings.smtp_host or settings.host}:{settings.smtp_port}",
                 "what": "SMTP server that mail is handed to"},
        "logs": {"address": str(settings.home / "logs"), "what": "a log per part"},
    }
    if settings.kafka_options:
        found["kafka"]["password_setting"] = "KAIROS_KAFKA_OPTIONS"
    if settings.smtp_user:
        found["smtp"] |= {"user": settings.smtp_user, "password_setting": "KAIROS_SMTP_PASSWORD"}
    return found


def _clickhouse_addresses(settings: Settings) -> dict[str, dict[str, Any]]:
    if not settings.embedded_clickhouse:
        host = settings.clickhouse.rpartition("@")[2] or settings.clickhouse
        return {"clickhouse": {"address": host, "what": "your ClickHouse server",
                               "password_setting": "KAIROS_CLICKHOUSE"}}
    url = f"http://{settings.host}:{settings.clickhouse_port}"
    return {"clickhouse": {"address": url, "what": "ClickHouse HTTP, read-only, for analysts",
                           "user": "kairos_reader",
                           "password_file": str(secrets.path(settings, "clickhouse_reader"))},
            "clickhouse_write": {"address": url, "what": "ClickHouse HTTP, for the sink",
                                 "user": "kairos_writer",
                                 "password_file": str(secrets.path(settings, "clickhouse_writer"))}}


def _chosen(settings: Settings, names: str) -> tuple[parts.Part, ...] | None:
    known = {part.name: part for part in parts.roster(settings)}
    wanted = _listed(names, "part", list(known))
    return tuple(part for name, part in known.items() if name in wanted) if wanted else None


def _listed(text: str, what: str, known: list[str]) -> list[str]:
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise SetupError(f"there is no {what} '{name}' under these settings",
                             f"known are {', '.join(known)}")
    return wanted


def _remove(settings: Settings, *, everything: bool) -> list[str]:
    """Empty the home folder and name what went; only a folder that looks like ours is touched."""
    home = settings.home
    if not home.exists():
        return []
    if not (home / "run").is_dir():
        raise SetupError(f"{home} does not look like a home of Kairos, so it is left alone",
                         "check KAIROS_HOME")
    kept = set() if everything else {broker.libs(settings)}
    removed = []
    for place in sorted([*home.iterdir(), *(home / "kafka").glob("*")]):
        holds_kept = any(place in keep.parents for keep in kept)
        if place.exists() and place not in kept and not holds_kept:
            _delete(place)
            removed.append(str(place.relative_to(home)))
    return removed


def _delete(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _print_addresses(settings: Settings) -> None:
    for name, entry in addresses(settings).items():
        where = entry.get("password_file") or entry.get("password_setting")
        secret = f"  ({entry['user'] + ', ' if 'user' in entry else ''}password in {where})" \
            if where else ""
        click.echo(f"  {name:<17} {entry['address']}{secret}")


def _print_json(what: dict[str, Any]) -> None:
    click.echo(json.dumps(what, indent=2))


def _progress(part: str, word: str) -> None:
    click.echo(f"  {part:<11} {word}")


def _quiet(part: str, word: str) -> None:
    """JSON is asked for: only the result is printed."""


def _clock(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
