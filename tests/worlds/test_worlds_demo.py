"""The demo's worlds: what they know and say, checked as a growth team's own would be."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.choose import definitions
from streams.cli.demo import fresh_home
from streams.cli.demo_worlds import DEFINITIONS, PLAYBOOKS
from streams.compose.approval import template_faults
from streams.playbooks import loading
from streams.settings import Settings

KNOWN = definitions.load(DEFINITIONS)


def test_its_definitions_are_the_shipped_ones_and_two_features_of_items() -> None:
    shipped = definitions.load()
    assert KNOWN.features == shipped.features and KNOWN.segments == shipped.segments
    assert shipped.entities == (), "what an entity costs, only the demo pays unasked"
    assert KNOWN.figures == {"item_views_7d", "item_purchases_7d"}


@pytest.mark.parametrize("path", sorted(PLAYBOOKS.glob("*/*.yml")), ids=lambda path: path.stem)
def test_its_playbooks_hold_against_its_definitions(path: Path) -> None:
    assert loading.check(path, KNOWN.feature_names, KNOWN.segment_names, KNOWN.rhythms,
                         KNOWN.figures) == []
    assert template_faults(loading.load(path, tenant=path.parent.name), str(path)) == []


def test_the_storefront_states_what_its_definitions_count() -> None:
    found = loading.load(PLAYBOOKS / "storefront" / "abandoned-cart.yml")
    assert {figure.feature for figure in found.figures} == KNOWN.figures


def test_a_demo_takes_the_worlds_definitions_unless_others_are_named(tmp_path: Path) -> None:
    base = Settings(home=tmp_path, kafka="127.0.0.1:9")          # a broker of one's own: no jars
    assert fresh_home(base.model_copy(update={"definitions": None})).definitions == DEFINITIONS
    own = base.model_copy(update={"definitions": tmp_path / "own"})
    assert fresh_home(own).definitions == tmp_path / "own"
    assert fresh_home(own).home == tmp_path / "demo"
