"""The storefront's shoppers, drawn from a seed. What they like is known to nobody else.

Each shopper has a taste over categories, a chance to come back and buy of their own accord, and one
strategy of message that works on them. Their taste leans on what works: whoever learns from what
can be seen (categories, past orders) can do better than chance, and never perfectly.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from streams.kernel.moments import DAY_MS, HOUR_MS, MINUTE_MS

STRATEGIES = ("reminder", "social_proof", "helpful")
UPLIFT_MATCHED = 0.25
UPLIFT_OTHER = 0.05
RETURN_MS_MIN, RETURN_MS_MAX = 100 * MINUTE_MS, 20 * HOUR_MS

_FIRST_NAMES = ("Ada", "Björn", "Chloé", "Dara", "Emre", "Fatou", "Goran", "Hana", "Ines", "Jonas",
                "Kofi", "Leila", "Mika", "Nadia", "Oskar", "Priya", "Quinn", "Rosa", "Søren",
                "Tara", "Uma", "Viktor", "Wen", "Ximena", "Yusuf", "Zoë")
_LOCALES = ("en-US", "en-GB", "en-IE")
Consent = Literal["all", "no_contact", "nothing"]
Ending = Literal["abandon", "buy", "browse"]


@dataclass(frozen=True, slots=True)
class Shopper:
    """One person of the simulation.

    draw          the one number in [0, 1) against which all their chances to buy are held, so that
                  what they do with and without a message differs only by the message
    return_chance chance to come back and buy without any message
    works         the strategy that works on them
    reads         whether they read such mail at all; reading_ms: how long it lies unread
    """

    number: int
    user_id: str
    key: str
    anonymous_id: str
    first_name: str
    locale: str
    favourite: int
    ending: Ending
    consent: Consent
    withdraws: bool
    unsubscribes: bool
    avro: bool
    visits: int
    comes_ms: int
    draw: float
    return_chance: float
    return_ms: int
    works: str
    reads: bool
    reading_ms: int
    curious: bool

    @property
    def email(self) -> str:
        return f"{self.user_id}@example.test"

    def chance(self, strategy: str) -> float:
        """Chance to buy within the window after reading a message of `strategy`; "" is none."""
        if not strategy:
            return self.return_chance
        uplift = UPLIFT_MATCHED if strategy == self.works else UPLIFT_OTHER
        return self.return_chance + uplift

    @property
    def returns_anyway(self) -> bool:
        return self.draw < self.return_chance


def draw(seed: int, count: int, *, days: float, categories: int) -> list[Shopper]:
    """`count` shoppers whose deciding visit falls into the first `days` of the simulation."""
    dice = random.Random(f"kairos storefront {seed}")
    return [_shopper(dice, number, days=days, categories=categories) for number in range(count)]


def _shopper(dice: random.Random, number: int, *, days: float, categories: int) -> Shopper:
    works = dice.choice(STRATEGIES)
    # Two thirds of the people on whom a strategy works like the two shelves that go with it.
    shelf = STRATEGIES.index(works) * 2 + dice.randrange(2)
    favourite = shelf % categories if dice.random() < 2 / 3 else dice.randrange(categories)
    stranger = dice.random() < 0.3
    user_id = f"shopper-{number:05d}"
    device = f"device-{number:05d}"
    return Shopper(
        number=number, user_id=user_id, key=device if stranger else user_id,
        anonymous_id=device if stranger else "", first_name=dice.choice(_FIRST_NAMES),
        locale=dice.choice(_LOCALES), favourite=favourite,
        ending=dice.choices(("abandon", "buy", "browse"), (0.66, 0.24, 0.10))[0],
        consent=dice.choices(("all", "no_contact", "nothing"), (0.88, 0.08, 0.04))[0],
        withdraws=dice.random() < 0.02, unsubscribes=dice.random() < 0.03,
        avro=dice.random() < 0.5, visits=dice.choice((0, 0, 1, 1, 2)),
        comes_ms=int(dice.uniform(0.3, days) * DAY_MS), draw=dice.random(),
        return_chance=dice.uniform(0.05, 0.25),
        return_ms=int(dice.uniform(RETURN_MS_MIN, RETURN_MS_MAX)), works=works,
        reads=dice.random() < 0.9, reading_ms=int(dice.uniform(5, 60) * MINUTE_MS),
        curious=dice.random() < 0.15)
