"""The price book: dated list prices, so that any past call can be priced again as it was.

A US dollar per million tokens is a micro-dollar per token, which makes the arithmetic exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from streams.kernel.errors import SettingsError
from streams.kernel.moments import parse_moment

SHIPPED = Path(__file__).resolve().parent / "prices.yml"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one call. `cached` are among `sent`; reasoning counts as `written`."""

    sent: int
    written: int
    cached: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.cached <= self.sent or self.written < 0:
            raise ValueError(f"no such token counts: {self}")


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars per token, in force from `from_ms` on."""

    model: str
    from_ms: int
    sent: Decimal
    cached: Decimal
    written: Decimal
    source: str

    def of(self, tokens: Tokens) -> int:
        """Micro-dollars of `tokens`, rounded up: a call is never too cheap in the books."""
        exact = ((tokens.sent - tokens.cached) * self.sent + tokens.cached * self.cached
                 + tokens.written * self.written)
        return math.ceil(exact)


@dataclass(frozen=True, slots=True)
class PriceBook:
    version: str
    prices: tuple[Price, ...]

    def find(self, model: str, at_ms: int) -> Price | None:
        """The price of `model` in force at `at_ms`; the earliest one before that date.

        A moment before the first known date takes the first known price: replays of old data cost
        what they cost today. None when the model is not in the book.
        """
        mine = sorted((p for p in self.prices if p.model == model), key=lambda p: p.from_ms)
        standing = [p for p in mine if p.from_ms <= at_ms]
        return standing[-1] if standing else (mine[0] if mine else None)

    def price(self, model: str, tokens: Tokens, at_ms: int) -> int:
        """Micro-dollars of a call. A model that is not in the book is priced as the dearest one,
        so that an unknown name cannot overspend a budget."""
        found = self.find(model, at_ms)
        if found is not None:
            return found.of(tokens)
        return max((p.of(tokens) for p in self.prices), default=0)

    def knows(self, model: str) -> bool:
        return any(price.model == model for price in self.prices)


def load(path: Path = SHIPPED) -> PriceBook:
    """The price book in the YAML file at `path`. Raises SettingsError naming the bad line."""
    try:
        tree = YAML(typ="safe").load(path.read_text("utf-8"))
        rows = tree["prices"]
        return PriceBook(str(tree["version"]), tuple(_price(path, row) for row in rows))
    except (OSError, YAMLError, KeyError, TypeError) as fault:
        raise SettingsError("KAIROS_PRICE_BOOK", f"{path} is no price book ({fault})",
                            "copy streams/cost/prices.yml and add your models") from fault


def _price(path: Path, row: dict[str, Any]) -> Price:
    try:
        price = Price(str(row["model"]), parse_moment(str(row["effective_from"])),
                      Decimal(str(row["input"])),
                      Decimal(str(row.get("cached_input", row["input"]))),
                      Decimal(str(row["output"])), str(row.get("source", "")))
    except (KeyError, InvalidOperation, ValueError) as fault:
        raise SettingsError("KAIROS_PRICE_BOOK", f"{path}: the line {row} does not hold ({fault})",
                            "write model, effective_from, input, output and source") from fault
    if not all(p.is_finite() and p >= 0 for p in (price.sent, price.cached, price.written)):
        raise SettingsError("KAIROS_PRICE_BOOK", f"{path}: {price.model} has a negative price",
                            "prices are US dollars per million tokens, 0 or more")
    return price
