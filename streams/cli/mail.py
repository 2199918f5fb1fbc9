"""`kairos mail serve`: the local mail catcher (SMTP on KAIROS_SMTP_PORT, HTTP one port above)."""

from __future__ import annotations

import asyncio
import json

import click

from streams import settings as settings_of
from streams.adapters.clock import WallClock
from streams.adapters.mailbox import Mailbox
from streams.adapters.web.catcher import Catcher, api
from streams.adapters.web.listening import listen, serve_http
from streams.settings import Settings


@click.group()
def mail() -> None:
    """The local mail catcher: takes every e-mail, delivers none."""


@mail.command()
@click.option("--name", default="mail", show_default=True, help="Name of this part.")
@click.option("--fail-first", type=click.IntRange(min=0), default=0, show_default=True,
              help="Answer 451 (try later) to so many messages first.")
@click.option("--refuse", default="", metavar="PATTERN",
              help="Answer 550 to recipients like *@bounce.example.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as JSON.")
def serve(name: str, fail_first: int, refuse: str, as_json: bool) -> None:
    """Serve until stopped (SIGTERM or Ctrl-C)."""
    settings = settings_of.load()
    where = {"part": name, "smtp": f"smtp://{settings.host}:{settings.smtp_port}",
             "http": f"http://{settings.host}:{settings.smtp_port + 1}"}
    click.echo(json.dumps(where) if as_json
               else f"{name}: mail at {where['smtp']}, its API at {where['http']}/api/messages")
    asyncio.run(_serve(settings, fail_first, refuse))


async def _serve(settings: Settings, fail_first: int, refuse: str) -> None:
    mailbox = Mailbox(settings.path("mail", "mailbox.sqlite"))
    catcher = Catcher(mailbox, WallClock().now_ms, fail_first, refuse)
    smtp = await catcher.listen(listen(settings.host, settings.smtp_port, "KAIROS_SMTP_PORT"))
    try:
        await serve_http(api(mailbox), listen(settings.host, settings.smtp_port + 1,
                                              "KAIROS_SMTP_PORT"))
    finally:
        smtp.close()
        mailbox.close()
