"""`kairos walk`: one journey, walked in this process, as a table of what each stage made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.walk import SHIPPED, walk, walk_file
from streams.kernel.errors import MappingError


def test_the_cart_that_is_left_is_decided_upon() -> None:
    legs = walk_file(SHIPPED)
    assert [leg.stage for leg in legs] == sorted((leg.stage for leg in legs), key=(
        "admit", "choose", "compose").index)
    assert sum(leg.topic == "events.admitted" for leg in legs) == 3
    decided = [leg for leg in legs if leg.topic == "decisions.made"]
    assert len(decided) == 1 and "playbook=abandoned-cart" in decided[0].says


def test_without_consent_the_walk_ends_at_the_gate(tmp_path: Path) -> None:
    journey = tmp_path / "no.journey"
    journey.write_text("events:\n  - {event_type: page_view, user_id: ada}\n")
    legs = walk_file(journey)
    assert [(leg.topic, "reason=no_consent" in leg.says) for leg in legs] == [
        ("refusals.recorded", True)]


@pytest.mark.parametrize(("text", "line"), [("evnts: []\n", 1), ("start: soon\n", 1),
                                            ("until: 2 hours\n", 1)])
def test_a_journey_that_does_not_hold_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    journey = tmp_path / "bad.journey"
    journey.write_text(text)
    with pytest.raises(MappingError) as caught:
        walk_file(journey)
    assert caught.value.line == line


def test_the_command_prints_a_table_or_json() -> None:
    assert "decisions.made" in CliRunner().invoke(walk, []).output
    assert json.loads(CliRunner().invoke(walk, ["--json"]).output)[0]["stage"] == "admit"
