"""The budget holds under any order of callers, and the price book prices by date."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from streams.cost import price_book
from streams.cost.ledger import Budget, Ledger, Reservation
from streams.cost.plan import VOLUMES, volume_plan
from streams.cost.price_book import Tokens
from streams.kernel.errors import SettingsError
from streams.kernel.moments import DAY_MS, parse_moment

NOW_MS = parse_moment("2026-11-22")
BOOK = price_book.load()


class LedgerMachine(RuleBasedStateMachine):
    """A slow twin: sums over all reservations ever made, by day."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(Budget(1000, playbook_share=0.6))
        self.day = 0
        self.open: dict[int, Reservation] = {}
        self.spent: dict[tuple[int, str], int] = {}

    def taken(self, playbook: str | None = None) -> int:
        spent = sum(micros for (day, name), micros in self.spent.items()
                    if day == self.day and playbook in (None, name))
        return spent + sum(h.usd_micros for h in self.open.values()
                           if h.day == self.day and playbook in (None, h.playbook))

    @rule(target=held, playbook=st.sampled_from("ab"), micros=st.integers(0, 400))
    def reserve(self, playbook: str, micros: int) -> Reservation | None:
        fits = (self.taken() + micros <= 1000 and self.taken(playbook) + micros <= 600)
        found = self.ledger.reserve(playbook, micros, self.day * DAY_MS)
        assert (found is not None) == fits
        if found is not None:
            self.open[found.number] = found
        return found

    @rule(reservation=consumes(held), share=st.floats(0, 1))
    def settle(self, reservation: Reservation | None, share: float) -> None:
        if reservation is None or self.open.get(reservation.number) is not reservation:
            return                                        # lost in a crash
        micros = int(reservation.usd_micros * share)
        self.ledger.settle(reservation, micros)
        self.ledger.settle(reservation, micros)          # twice counts once
        del self.open[reservation.number]
        key = (reservation.day, reservation.playbook)
        self.spent[key] = self.spent.get(key, 0) + micros

    @rule()
    def next_day(self) -> None:
        self.day += 1
        self.ledger.reserve("a", 0, self.day * DAY_MS)

    @rule()
    def crash(self) -> None:
        """What is still held counts as spent afterwards."""
        state = self.ledger.dump()
        self.ledger = Ledger(Budget(1000, playbook_share=0.6))
        self.ledger.restore(state)
        for held in self.open.values():
            key = (held.day, held.playbook)
            self.spent[key] = self.spent.get(key, 0) + held.usd_micros
        self.open.clear()

    @invariant()
    def never_above_the_limit(self) -> None:
        assert self.taken() <= 1000
        assert self.taken("a") <= 600 and self.taken("b") <= 600


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, deadline=None)


def test_threads_racing_for_the_budget_never_spend_more_than_it() -> None:
    seed = 20261122
    ledger = Ledger(Budget(100_000))
    spent: list[int] = []

    def caller(number: int) -> None:
        dice = random.Random(seed + number)
        for _ in range(300):
            held = ledger.reserve("p", dice.randrange(1, 500), NOW_MS)
            if held is not None:
                actual = dice.randrange(held.usd_micros + 1)
                ledger.settle(held, actual)
                spent.append(actual)

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.spent_usd_micros == sum(spent) <= 100_000, f"{seed=}"


def test_shares_of_partitions_add_up_to_no_more_than_the_day() -> None:
    budget = Budget(1_000_003, partitions=4)
    assert budget.share_usd_micros * 4 <= 1_000_003


@pytest.mark.parametrize(("model", "tokens", "at", "micros"), [
    ("gpt-6-luna", Tokens(900, 120), "2026-11-22", 150),
    ("gpt-6-luna", Tokens(900, 120, cached=900), "2026-11-22", 69),
    ("gpt-6.1-sol", Tokens(900, 120), "2026-11-22", 3000),
    ("gemini-3.8-flash", Tokens(900, 120), "2026-12-31", 1125),
    ("gemini-3.8-flash", Tokens(900, 120), "2027-01-01", 2250),
    ("gpt-6-luna", Tokens(1, 0), "2026-11-22", 1),
    ("gpt-6-luna", Tokens(900, 120), "2009-12-01", 150),
    ("no-such-model", Tokens(900, 120), "2026-11-22", 15000),
])
def test_a_call_costs_what_the_book_said_on_that_day(model: str, tokens: Tokens, at: str,
                                                     micros: int) -> None:
    assert BOOK.price(model, tokens, parse_moment(at)) == micros


@given(st.sampled_from([p.model for p in BOOK.prices]), st.integers(0, 10**6),
       st.integers(0, 10**6), st.integers(0, 10**4))
def test_more_tokens_never_cost_less(model: str, sent: int, written: int, more: int) -> None:
    low = BOOK.price(model, Tokens(sent, written), NOW_MS)
    assert BOOK.price(model, Tokens(sent + more, written + more), NOW_MS) >= low >= 0


@pytest.mark.parametrize("text", [
    "prices: 3", "version: 1", "version: 1\nprices: [{model: a}]", "[",
    "version: 1\nprices: [{model: a, effective_from: 2026-01-01, input: x, output: 1}]",
    "version: 1\nprices: [{model: a, effective_from: 2026-01-01, input: '-1', output: 1}]",
    "version: 1\nprices: [{model: a, effective_from: soon, input: 1, output: 1}]",
])
def test_a_broken_price_book_is_a_clear_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.yml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="KAIROS_PRICE_BOOK"):
        price_book.load(path)


def test_the_plan_agrees_with_the_closed_form_and_keeps_the_budget() -> None:
    plans = volume_plan(BOOK, mix={"gpt-6-luna": 0.9, "gpt-6.1-sol": 0.1}, at_ms=NOW_MS,
                        budget_usd_micros_day=5_000_000)
    assert [plan.messages for plan in plans] == list(VOLUMES)
    for plan in plans:
        assert plan.usd_per_thousand_unlimited == pytest.approx(0.9 * 0.15 + 0.1 * 3.0)
        assert plan.usd_per_thousand * plan.messages / 1000 <= 150.000001
    assert plans[0].by_model == pytest.approx(1.0)
    assert all(plan.usd_per_thousand == 0 for plan in volume_plan(
        BOOK, mix={}, at_ms=NOW_MS, budget_usd_micros_day=0))
