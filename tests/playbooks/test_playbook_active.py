"""The playbooks in force: one that nobody can read is said and costs the others nothing."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from streams.choose import definitions
from streams.kernel.side_inputs import SideInputs
from streams.playbooks import loading
from streams.playbooks.active import ActivePlaybooks

GOOD = (Path(loading.__file__).parent / "shipped" / "abandoned-cart.yml").read_text("utf-8")
UNREADABLE = [
    ("an unknown field", GOOD + "surprise: 1\n"), ("no mapping", "[]"), ("nothing", ""),
    ("no yaml", "{"), ("a wrong value", GOOD.replace("holdout: 20%", "holdout: lots")),
]


@pytest.mark.parametrize("text", [row[1] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_a_published_text_that_is_no_playbook_is_said_once_and_passed_over(
        text: str, caplog: pytest.LogCaptureFixture) -> None:
    side = SideInputs()
    for name, yaml in (("broken", text), ("abandoned-cart", GOOD)):
        side.take("playbooks.published", {"tenant": "shop", "name": name, "version": 1,
                                          "yaml": yaml, "active": True})
    active = ActivePlaybooks(loading.from_yaml)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            side.version += 1
            assert [found.name for found in active.of(side, "shop")] == ["abandoned-cart"]
    assert len(caplog.records) == 1
    assert "playbook broken of tenant shop" in caplog.text


@pytest.mark.parametrize("rule", [
    "{event: {on: purchase, when: {feature: gone_30d, at_least: 1}}}",
    "{segment: {enters: gone}}",
    "{recency: {after: refund, due: 1.0}}",
])
def test_a_playbook_that_asks_for_what_these_definitions_lack_is_passed_over(
        rule: str, caplog: pytest.LogCaptureFixture) -> None:
    known = definitions.load()
    lines = [f"trigger: {rule}" if line.startswith("trigger:") else line
             for line in GOOD.replace("abandoned-cart", "asks").splitlines()]
    side = SideInputs()
    for name, yaml in (("asks", "\n".join(lines)), ("abandoned-cart", GOOD)):
        side.take("playbooks.published", {"tenant": "shop", "name": name, "version": 1,
                                          "yaml": yaml, "active": True})
    found = ActivePlaybooks(partial(
        loading.from_yaml, known_features=known.feature_names,
        known_segments=known.segment_names, rhythms=known.rhythms)).of(side, "shop")
    assert [playbook.name for playbook in found] == ["abandoned-cart"]
    assert "playbook asks of tenant shop" in caplog.text
