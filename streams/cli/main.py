"""`kairos`: the operator's command line. Thin: each command lives in the module named here."""

from __future__ import annotations

import faulthandler
import importlib
import json
import signal
import sys

import click

from streams.kernel.errors import KairosError

# command -> "module:attribute"; imported only when called, so that --help is quick.
COMMANDS: dict[str, str] = {
    "up": "streams.cli.lifecycle:up",
    "down": "streams.cli.lifecycle:down",
    "status": "streams.cli.lifecycle:status",
    "clean": "streams.cli.lifecycle:clean",
    "doctor": "streams.cli.lifecycle:doctor",
    "demo": "streams.cli.demo:demo",
    "replay": "streams.cli.replay:replay",
    "plan": "streams.cli.playbook:plan",
    "apply": "streams.cli.playbook:apply",
    "segments": "streams.cli.segments:segments",
    "catalogue": "streams.cli.catalogue:catalogue",
    "why": "streams.cli.why:why",
    "profile": "streams.cli.profile:profile",
    "entity": "streams.cli.entity:entity",
    "sql": "streams.cli.sql:sql",
    "report": "streams.cli.report:report",
    "backfill": "streams.cli.backfill:backfill",
    "drift": "streams.cli.drift:command",
    "quarantine": "streams.cli.quarantine:quarantine",
    "walk": "streams.cli.walk:walk",
    "work": "streams.cli.work:work",
    "sink": "streams.cli.sink:sink",
    "web": "streams.cli.web:web",
    "mail": "streams.cli.mail:mail",
    "clickhouse": "streams.cli.clickhouse:clickhouse",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        where = COMMANDS.get(name)
        if where is None:
            return None
        module, _, attribute = where.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kairos")
def cli() -> None:
    """Kairos: real-time triggered personalization.

    Start with `kairos up`, look with `kairos status`, try it with `kairos demo`.
    """


def main() -> None:
    """Run the command line; a KairosError becomes one sentence, its remedy and exit code 1."""
    # `kill -USR1` of what seems to be stuck prints where each of its threads stands.
    faulthandler.register(signal.SIGUSR1)
    try:
        cli(standalone_mode=False)
    except KairosError as fault:
        if "--json" in sys.argv:
            print(json.dumps({"error": fault.message, "remedy": fault.remedy}))
        else:
            click.secho(f"kairos: {fault.message}", fg="red", err=True)
            if fault.remedy:
                click.echo(f"        {fault.remedy}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("kairos: stopped", err=True)
        sys.exit(130)
    except click.ClickException as fault:
        if "--json" in sys.argv:
            print(json.dumps({"error": fault.format_message(), "remedy": "see --help"}))
        else:
            fault.show()
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
