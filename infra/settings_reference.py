"""Writes settings.reference.env from the settings object (`make reference`); a test compares."""

from __future__ import annotations

import textwrap

from streams.settings import PROJECT, Settings

FILE = PROJECT / "settings.reference.env"
HEAD = """\
# Every setting of Kairos with its default, written by `make reference` from streams/settings.py.
# A commented line is the default. To change some, copy their lines into a file of your own without
# the leading '# ' and export it: set -a; . ./my.env; set +a
#
# A KAIROS_ variable that is not here is refused, so that a misspelt one is not ignored.
"""
# The chapters: each begins at the field named here.
CHAPTERS = {"home": "Where everything lies", "kafka": "Kafka", "clickhouse": "ClickHouse",
            "web_port": "Web and mail", "model_url": "Models and their money",
            "batch_events": "The engine and its limits"}


def render() -> str:
    """The text of the reference file."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        if name in CHAPTERS:
            parts.append(f"\n## {CHAPTERS[name]}\n")
        sentence = textwrap.fill(field.description or "", 96, initial_indent="# ",
                                 subsequent_indent="# ", break_long_words=False,
                                 break_on_hyphens=False)
        parts.append(f"\n{sentence}\n# KAIROS_{name.upper()}={_value(name, field.default)}\n")
    return "".join(parts)


def _value(name: str, default: object) -> str:
    if name == "home":
        return ".kairos"  # relative to the project, whose own place differs by machine
    text = "" if default is None else str(default)
    return f'"{text}"' if set(text) & set(" <>;$&|'") else text


if __name__ == "__main__":
    FILE.write_text(render())
