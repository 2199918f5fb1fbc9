"""Some thousand simulated crashes with every run of the suite; `make sim` for many more."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import pytest
import sim
import sim_choose
import sim_cold


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """A lane logs the walk that fails; here some are meant to."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("start", range(0, 500, 100))
def test_whatever_befalls_the_workers_the_answers_are_those_of_the_twin(start: int) -> None:
    happened = Counter[str]()
    for seed in range(start, start + 100):
        try:
            happened += sim.run(seed)
        except Exception as fault:
            raise AssertionError(f"seed {seed}; replay: make sim SEED={seed}") from fault
    assert happened["crashes"] > 400 and happened["zombies"] > 400 and happened["given up"] > 100
    assert happened["batches beside a checkpoint"] > 100
    assert happened["crashes"] / 100 * sim.WORLDS > 100_000, "as docs/decisions/0006 promises"


@pytest.mark.parametrize("seed", range(8))
def test_the_choose_stage_gives_its_own_calm_answers(seed: int) -> None:
    assert sim.run(seed, stage=sim_choose)["crashes"] >= 0


def test_with_next_to_no_memory_the_answers_are_those_of_a_twin_with_enough() -> None:
    happened = sum((sim.run(seed, stage=sim_cold) for seed in range(16)), Counter[str]())
    assert happened["crashes"] > 10 and happened["rows out of memory"] > 40


def test_a_seed_is_the_same_world_again() -> None:
    assert sim.run(4) == sim.run(4)
