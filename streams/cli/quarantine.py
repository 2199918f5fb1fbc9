"""`kairos quarantine`: what could not be read or was refused, and sending it again.

Reads the topics themselves, so it works without ClickHouse. Sending again appends the bytes to the
partition they stood in; an event that was admitted meanwhile is then a duplicate and nothing more.
"""

from __future__ import annotations

import difflib
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click
from confluent_kafka import KafkaError, Message, Producer

from streams import settings as settings_of
from streams.cli.quarantine_log import WAIT_S, Kept, Log, kept
from streams.kernel.errors import KairosError, UnreachableError
from streams.kernel.moments import show_moment
from streams.kernel.outcomes import REASONS
from streams.pipeline import RAW
from streams.settings import Settings

REPLAY_HEADER = "kairos-replay-of"


def _chosen(log: Log, ids: tuple[str, ...], *, reason: str, stage: str, refused: bool,
            quarantined: bool = True) -> Iterator[Kept]:
    for one in kept(log, refused=refused, quarantined=quarantined):
        if ((not ids or any(one.id.startswith(id) for id in ids))
                and reason in ("", one.fields["reason"]) and stage in ("", one.fields["stage"])):
            yield one


@click.group()
def quarantine() -> None:
    """List, show and send again what was quarantined or refused."""


def _known(_context: click.Context, _parameter: click.Parameter, reason: str) -> str:
    if reason and reason not in REASONS:
        near = difflib.get_close_matches(reason, REASONS, n=1)
        raise click.BadParameter(f"{reason!r} is no reason code; " + (
            f"did you mean {near[0]}?" if near else f"known are: {', '.join(REASONS)}"))
    return reason


_REASON = click.option("--reason", default="", callback=_known, help="Only this reason code.")
_STAGE = click.option("--stage", default="", help="Only this stage: admit, choose, sink, …")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@quarantine.command("list")
@_REASON
@_STAGE
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1),
              help="At most this many, the newest.")
@_JSON
def list_(reason: str, stage: str, limit: int, as_json: bool) -> None:
    """List what was quarantined or refused, oldest first."""
    with _opened(settings_of.load()) as log:
        newest = deque(sorted(_chosen(log, (), reason=reason, stage=stage, refused=True),
                              key=lambda one: one.fields["recorded_ms"]), maxlen=limit)
    if as_json:
        click.echo(json.dumps([one.summary() for one in newest]))
        return
    for one in newest:
        fields = one.fields
        click.echo(f"{one.id[:12]}  {show_moment(fields['recorded_ms'])}  {one.outcome:<11} "
                   f"{fields['reason']:<15} {fields['field'] or '-':<18} "
                   f"{fields['topic']}[{fields['partition']}]@{fields['offset']}")
    click.echo(f"{len(newest)} shown. `kairos quarantine show ID` says what was wrong."
               if newest else "Nothing of that kind is quarantined or refused." if reason or stage
               else "Nothing is quarantined or refused.")


@quarantine.command()
@click.argument("id")
@_JSON
def show(id: str, as_json: bool) -> None:
    """Show one record, by its id or the beginning of it: what was wrong, and its bytes."""
    with _opened(settings_of.load()) as log:
        one = _only(log, id)
        payload = one.payload
        if payload is None:
            message = log.at([one.address]).get(one.address)
            payload = None if message is None else message.value()
    meaning = REASONS.get(one.fields["reason"], "")
    text = None if payload is None else _text(payload)
    if as_json:
        click.echo(json.dumps({**one.summary(), "meaning": meaning, "text": text,
                               "hex": None if payload is None else payload.hex()}))
        return
    for name, value in {**one.summary(), "meaning": meaning}.items():
        click.echo(f"{name:<12} {show_moment(value) if name == 'recorded_ms' else value}")
    click.echo("payload      " + ("no longer in the topic" if payload is None
                                  else text if text is not None else payload.hex(" ")))


@quarantine.command()
@click.argument("ids", nargs=-1)
@_REASON
@_STAGE
@click.option("--all", "everything", is_flag=True, help="All that --reason and --stage leave.")
@click.option("--refused", is_flag=True, help="Refused events instead of quarantined ones; they "
              "are read again from their topic by address.")
@click.option("--edit", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Send this file's bytes instead; with one id only.")
@_JSON
def replay(ids: tuple[str, ...], reason: str, stage: str, everything: bool, refused: bool,
           edit: Path | None, as_json: bool) -> None:
    """Send records again to the topic they stood in, as they were or mended with --edit."""
    if bool(ids) == (everything or bool(reason)):
        raise KairosError("say what to send again: either ids, or --reason CODE, or --all",
                          "`kairos quarantine list` shows the ids")
    settings = settings_of.load()
    with _opened(settings) as log:
        if edit is not None:
            chosen = [_only(log, ids[0])] if len(ids) == 1 else []
            if not chosen:
                raise KairosError("--edit goes with exactly one id", "name the record it mends")
        else:
            # Only admit may judge a refused event anew; later stages would take it for a repeat.
            chosen = [one for one in _chosen(log, ids, reason=reason, stage=stage,
                                             refused=refused, quarantined=not refused)
                      if not refused or one.fields["topic"] == RAW]
            if not chosen:
                raise KairosError("nothing matches",
                                  "`kairos quarantine list` shows what there is")
            no_two(ids, chosen)
        sent, gone = _send_again(settings, log, chosen, None if edit is None else
                                 edit.read_bytes())
    if as_json:
        click.echo(json.dumps({"sent": sent, "gone": gone}))
    else:
        click.echo(f"{len(sent)} sent again" + (
            f"; {len(gone)} are no longer in their topic" if gone else "") + ".")


def _send_again(settings: Settings, log: Log, chosen: list[Kept], mended: bytes | None,
                ) -> tuple[list[str], list[str]]:
    """(ids sent and acknowledged, ids whose bytes the broker keeps no longer)."""
    producer = Producer({**settings.kafka_client, "partitioner": "murmur2_random", "acks": "all",
                         "enable.idempotence": True, "log_level": 0})
    sent, gone, faults = list[str](), list[str](), list[str]()

    def reported(fault: KafkaError | None, _message: Message) -> None:
        if fault is not None:
            faults.append(fault.str())

    stored = log.at(one.address for one in chosen if one.payload is None)
    for one in chosen:
        key, payload = one.key, one.payload
        if payload is None:
            message = stored.get(one.address)
            if message is None:
                gone.append(one.id)
                continue
            key, payload = message.key(), message.value() or b""
        producer.produce(one.fields["topic"], mended if mended is not None else payload, key,
                         partition=one.fields["partition"], on_delivery=reported,
                         headers=[(REPLAY_HEADER, one.id.encode())])
        sent.append(one.id)
        producer.poll(0)
    if producer.flush(3 * WAIT_S) or faults:
        raise UnreachableError(f"not everything was sent again: "
                               f"{faults[0] if faults else 'no answer'}",
                               "run it again: what did arrive is a duplicate then")
    return sent, gone


def no_two(ids: tuple[str, ...], chosen: list[Kept]) -> None:
    """Raises KairosError when the beginning of an id stands for more than one record."""
    for id in ids:
        count = sum(one.id.startswith(id) for one in chosen)
        if count > 1:
            raise KairosError(f"{id}: {count} records have an id that begins so",
                              "write more of it; `kairos quarantine list --json` shows all of it")


def _only(log: Log, id: str) -> Kept:
    found = list(_chosen(log, (id,), reason="", stage="", refused=True))
    if len(found) != 1:
        raise KairosError(f"{id}: {'no' if not found else 'more than one'} record has this id",
                          "`kairos quarantine list --json` shows the full ids")
    return found[0]


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


class _opened:
    """A Log that is closed at the end of the block."""

    def __init__(self, settings: Settings) -> None:
        self._log = Log(settings)

    def __enter__(self) -> Log:
        return self._log

    def __exit__(self, *_: object) -> None:
        self._log.close()
