"""What the report makes of a world's units."""

from __future__ import annotations

from typing import Any

import pytest

from sinks.report.effects import experiment


def units(playbook: str, *, treated: int, held_out: int, treated_rate: float,
          held_out_rate: float) -> list[dict[str, Any]]:
    """Units of one playbook; the first of each side convert."""
    rows = []
    for number in range(treated + held_out):
        held = number >= treated
        rank, rate, size = ((number - treated, held_out_rate, held_out) if held
                            else (number, treated_rate, treated))
        rows.append({"playbook": playbook, "person": number, "held_out": held, "moment_ms": number,
                     "holdout_probability": held_out / (treated + held_out),
                     "converted": rank < rate * size, "value_micros": 5_000_000})
    return rows


CART = units("cart", treated=900, held_out=300, treated_rate=0.4, held_out_rate=0.2)
DUE = units("due", treated=900, held_out=300, treated_rate=0.1, held_out_rate=0.1)


def test_the_headline_is_over_all_playbooks_weighted_by_messaged_units() -> None:
    found = experiment(CART + DUE, None, usd_per_message=0.01)
    assert found["lift"]["estimate"] == pytest.approx(0.1)
    assert found["lift"]["playbooks"] == ["cart", "due"]
    assert found["by_playbook"]["cart"]["lift"]["estimate"] == pytest.approx(0.2)
    assert found["value_lift"]["estimate"] == pytest.approx(0.0)


def test_a_truth_of_one_playbook_is_met_by_that_playbook() -> None:
    found = experiment(CART + DUE, {"lift": 0.21, "playbook": "cart"}, usd_per_message=0.01)
    assert found["lift"]["estimate"] == pytest.approx(0.2)
    assert found["lift"]["playbooks"] == ["cart"] and found["lift"]["covers_truth"]
    assert set(found["by_playbook"]) == {"cart", "due"}


def test_a_truth_outside_the_interval_is_said_to_be_outside() -> None:
    found = experiment(CART, {"lift": 0.5}, usd_per_message=0.01)
    assert found["lift"]["covers_truth"] is False


def test_caused_conversions_and_their_price() -> None:
    told = experiment(CART, None, usd_per_message=0.01)["incremental"]
    assert (told["treated_units"], told["converted"]) == (900, 360)
    assert told["caused"] == pytest.approx(180)
    assert told["usd_per_caused_conversion"] == pytest.approx(0.05)
    assert told["usd_per_caused_conversion_low"] < 0.05 < told["usd_per_caused_conversion_high"]


def test_no_price_buys_a_conversion_that_is_not_shown_to_be_gained() -> None:
    told = experiment(DUE, None, usd_per_message=0.01)["incremental"]
    assert told["usd_per_caused_conversion"] is None
    assert told["usd_per_caused_conversion_high"] is None


def test_a_world_without_units_has_no_figures() -> None:
    found = experiment([], {"lift": 0.1}, usd_per_message=0.0)
    assert found["verdict"] == "not enough data yet"
    assert found["lift"]["estimate"] is None and found["lift"]["truth"] == 0.1
    assert found["by_playbook"] == {} and found["incremental"]["caused"] is None


def test_a_split_that_was_not_designed_is_called_out() -> None:
    rows = [{**row, "holdout_probability": 0.1} for row in CART]
    assert experiment(rows, None, usd_per_message=0.0)["split"]["holds"] is False
