"""The real `kairos up` with files that do not hold: refused before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.parts import environment
from streams.settings import PROJECT, Settings

FEATURES = ("version: 1\nfeatures:\n"
            "  views: {event: product_view, kind: count, window: 500d}\n"
            "  often: {event: product_view, kind: cuont, window: 1d}\n")


def kairos(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "streams.cli.main", *words], cwd=PROJECT,
                          env=environment(settings), capture_output=True, text=True, check=False)


def nothing_was_started(settings: Settings) -> bool:
    return not list(settings.home.glob("run/*")) and not list(settings.home.glob("logs/*"))


@pytest.fixture
def broken(settings: Settings, tmp_path: Path) -> Settings:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "features.yml").write_text(FEATURES, "utf-8")
    return settings.model_copy(update={"definitions": folder})


def test_up_says_of_definitions_what_plan_says_and_starts_nothing(broken: Settings) -> None:
    up, plan = kairos(broken, "up"), kairos(broken, "plan")
    assert up.returncode == plan.returncode == 1
    assert up.stderr == plan.stderr and "features.yml:4" in up.stderr
    assert not up.stdout and nothing_was_started(broken)


def test_up_says_so_as_json_too(broken: Settings) -> None:
    up = kairos(broken, "up", "--json")
    found = json.loads(up.stdout)
    assert up.returncode == 1 and found["remedy"] and "features.yml:4" in found["error"]


def test_up_refuses_a_price_book_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    up = kairos(settings.model_copy(update={"price_book": str(tmp_path / "none.yml")}), "up")
    assert up.returncode == 1 and "none.yml" in up.stderr and nothing_was_started(settings)


def test_parts_that_read_no_definitions_are_not_kept_from_starting(broken: Settings) -> None:
    """`--only` with a part that needs something else says what that lacks."""
    up = kairos(broken, "up", "--only", "nothing")
    assert up.returncode == 1 and "there is no part 'nothing'" in up.stderr


def test_the_demo_says_so_before_it_wipes_what_an_earlier_one_left(broken: Settings) -> None:
    left = broken.home / "demo" / "report" / "index.html"
    left.parent.mkdir(parents=True)
    left.write_text("an earlier report", "utf-8")
    demo, plan = kairos(broken, "demo"), kairos(broken, "plan")
    assert demo.returncode == 1 and demo.stderr == plan.stderr
    assert left.exists() and nothing_was_started(broken)
