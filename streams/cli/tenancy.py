"""The --tenant option: a name that events can carry, or a usage error."""

from __future__ import annotations

from typing import Any

import click

from schemas.event_fields import RULES, Unfit


def tenant_option(meaning: str) -> Any:
    """`--tenant` of a command that publishes; no event could ever carry another name."""
    return click.option("--tenant", default="default", show_default=True, callback=_checked,
                        help=meaning)


def _checked(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        holds = bool(RULES["tenant"](name, "tenant"))
    except Unfit:
        holds = False
    if not holds:
        raise click.BadParameter(f"{name!r} is no tenant; it has letters, digits, _ . or -, "
                                 "64 at most, and begins with a letter or digit")
    return name
