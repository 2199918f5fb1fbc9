"""`kairos web serve`: links in messages, events over HTTP, provider receipts, mailbox, report."""

from __future__ import annotations

import asyncio
import json
import logging

import click

from infra import secrets
from streams import settings as settings_of
from streams.adapters.clock import WallClock
from streams.adapters.web.app import create_app
from streams.adapters.web.listening import listen, serve_http
from streams.adapters.web.parts import Parts
from streams.adapters.web.publishing import Publisher


@click.group()
def web() -> None:
    """The web process: unsubscribe, clicks, events over HTTP, mailbox, report."""


@web.command()
@click.option("--name", default="web", show_default=True, help="Name of this part.")
@click.option("--json", "as_json", is_flag=True, help="Print the address as JSON.")
def serve(name: str, as_json: bool) -> None:
    """Serve until stopped (SIGTERM or Ctrl-C)."""
    settings = settings_of.load()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    where = listen(settings.host, settings.web_port, "KAIROS_WEB_PORT")
    secrets.ensure(settings)
    link_key, webhook_key = (bytes.fromhex(secrets.read(settings, key))
                             for key in ("link_key", "webhook_key"))
    parts = Parts(settings, Publisher(settings, f"kairos-{name}"), link_key, webhook_key,
                  secrets.read(settings, "operator_key"), WallClock().now_ms)
    local = f"http://{settings.host}:{settings.web_port}"
    said = {"part": name, "url": local, "public_url": settings.public_url}
    click.echo(json.dumps(said) if as_json else f"{name}: {local} (in messages: "
               f"{settings.public_url})")
    asyncio.run(serve_http(create_app(parts), where))
