"""Features in words, on the command line: numbers, texts, lists of texts."""

from __future__ import annotations

from rich.console import Console

from streams.cli.why import show_features


def test_texts_are_shown_as_they_are_even_those_that_look_like_markup() -> None:
    console = Console(record=True, width=120)
    show_features({
        "orders": {"value": 3.0, "age_ms": 3_600_000},
        "likes": {"value": "[/red] shoes", "age_ms": 0},
        "last": {"value": ["hats", "[bold]"], "age_ms": None}, "none": {"value": None, "age_ms": 1},
    }, console)
    said = console.export_text()
    for part in ("3", "1.0 h", "[/red] shoes", "hats, [bold]", "not known: none"):
        assert part in said, said
