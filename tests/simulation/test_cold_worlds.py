"""What is promised of choose holds with next to no memory as well: these tests once more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sim_cold
from test_erasing import (
    test_a_crash_anywhere_erases_the_same,
    test_a_long_story_of_somebody_who_was_erased_amid_it,
)
from test_group_rows import (
    test_a_crash_anywhere_changes_nothing_that_is_said_in_the_end,
    test_a_visitor_who_turns_out_to_be_a_person_is_one_of_everybody,
    test_any_number_of_partitions_says_what_one_says,
)
from test_handover import (
    test_a_cart_left_before_the_log_in_is_reminded_of_after_it,
    test_a_crash_anywhere_in_a_handover_changes_nothing,
    test_caps_and_cool_downs_count_what_was_said_to_the_visitor,
    test_cells_and_groups_are_as_if_it_had_always_been_the_person,
    test_the_visitor_leaves_their_segments_and_the_person_enters_them,
    test_who_was_held_out_as_a_visitor_stays_held_out,
)
from test_trigger_kinds_crash import (
    test_a_crash_anywhere_ends_in_the_same_decisions_and_rows,
    test_the_result_does_not_depend_on_how_the_stream_is_cut,
)

from streams.choose.agent import ChooseLogic
from streams.engine.rows import Rows

__all__ = [
    "test_a_cart_left_before_the_log_in_is_reminded_of_after_it",
    "test_a_crash_anywhere_changes_nothing_that_is_said_in_the_end",
    "test_a_crash_anywhere_ends_in_the_same_decisions_and_rows",
    "test_a_crash_anywhere_erases_the_same",
    "test_a_crash_anywhere_in_a_handover_changes_nothing",
    "test_a_long_story_of_somebody_who_was_erased_amid_it",
    "test_a_visitor_who_turns_out_to_be_a_person_is_one_of_everybody",
    "test_any_number_of_partitions_says_what_one_says",
    "test_caps_and_cool_downs_count_what_was_said_to_the_visitor",
    "test_cells_and_groups_are_as_if_it_had_always_been_the_person",
    "test_the_result_does_not_depend_on_how_the_stream_is_cut",
    "test_the_visitor_leaves_their_segments_and_the_person_enters_them",
    "test_who_was_held_out_as_a_visitor_stays_held_out",
]


@pytest.fixture(autouse=True)
def next_to_no_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every choose stage made here has it; a test in which no row left memory shows nothing."""
    left, make, move = list[int](), ChooseLogic.__init__, Rows._move_out

    def made(self: ChooseLogic, *given: Any, **named: Any) -> None:
        make(self, *given, **{"room": sim_cold.room(), **named})

    def moved(self: Rows, room: Any, slots: Any) -> bool:
        left.append(len(slots))
        return move(self, room, slots)

    monkeypatch.setattr(ChooseLogic, "__init__", made)
    monkeypatch.setattr(Rows, "_move_out", moved)
    yield
    assert sum(left) > 0
