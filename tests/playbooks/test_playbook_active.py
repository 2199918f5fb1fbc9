"""The playbooks in force: one that nobody can read is said and costs the others nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

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
