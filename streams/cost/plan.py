"""What a month will cost: dollars per thousand messages at three volumes, under the day's budget.

The budget is a hard limit, so at high volume models write only as many messages as it pays for;
the rest come from the offline grammar, which costs nothing. Both figures are shown: what it will
cost, and what it would cost without the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.cost.price_book import PriceBook, Tokens
from streams.kernel.money import MICROS

VOLUMES = (10_000, 1_000_000, 100_000_000)
DAYS_PER_MONTH = 30
CALL = Tokens(sent=900, written=120)


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A month of `messages`. Dollars per thousand messages; `by_model`: share in [0, 1]."""

    messages: int
    usd_per_thousand: float
    usd_per_thousand_unlimited: float
    by_model: float


def volume_plan(book: PriceBook, *, mix: dict[str, float], budget_usd_micros_day: int,
                at_ms: int, call: Tokens = CALL) -> list[VolumePlan]:
    """The plan at each of VOLUMES.

    mix     model name -> share of messages first tried there; shares sum to at most 1, the
            remainder is written by the grammar. Empty: no model is configured
    call    tokens of one call; one call a message is assumed
    """
    assert 0 <= sum(mix.values()) <= 1.000001
    unit_micros = sum(share * book.price(model, call, at_ms) for model, share in mix.items())
    month_micros = budget_usd_micros_day * DAYS_PER_MONTH
    plans = []
    for messages in VOLUMES:
        wanted_micros = unit_micros * messages
        paid = min(1.0, month_micros / wanted_micros) if wanted_micros else 1.0
        plans.append(VolumePlan(messages, unit_micros * paid * 1000 / MICROS,
                                unit_micros * 1000 / MICROS, sum(mix.values()) * paid))
    return plans
