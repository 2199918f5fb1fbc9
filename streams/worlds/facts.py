"""The catalogue that a history contains: titles and prices of items, as its own rows state them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streams.kernel.money import to_micros
from streams.worlds.building import Builder
from streams.worlds.mapping import CatalogueRule
from streams.worlds.values import Row, Unfit


@dataclass(frozen=True, slots=True)
class Facts:
    title: str
    category: str
    price_micros: int
    url: str
    moment_ms: int


class Catalogue:
    """Facts by item; one row's worth for each, the first or the last in time as the rule says.

    A row without a title or with a price of 0 or less states no facts and is passed over.
    """

    def __init__(self, rule: CatalogueRule, builder: Builder) -> None:
        self._rule = rule
        self._item, self._title = builder.text(rule.item_id), builder.text(rule.title)
        self._price = builder.number(rule.price)
        self._category = builder.text(rule.category) if rule.category else None
        self._url = builder.text(rule.url) if rule.url else None
        self.items: dict[str, Facts] = {}

    def take(self, row: Row, moment_ms: int) -> None:
        try:
            item = self._item(row)
            if item is None or not self._counts(self.items.get(item), moment_ms):
                return
            title, price = self._title(row), self._price(row)
            if title and price is not None and price > 0:
                category = self._category(row) if self._category else None
                url = self._url(row) if self._url else None
                self.items[item] = Facts(title, category or "", to_micros(price), url or "",
                                         moment_ms)
        except (Unfit, ValueError):
            return                   # the row's event was judged already; it just states no facts

    def _counts(self, standing: Facts | None, moment_ms: int) -> bool:
        if standing is None:
            return True
        if self._rule.facts == "first":
            return moment_ms < standing.moment_ms
        return moment_ms >= standing.moment_ms

    def records(self, *, tenant: str, currency: str, start_ms: int) -> list[dict[str, Any]]:
        """catalogue.items records, by item."""
        return [{"tenant": tenant, "item_id": item, "title": facts.title,
                 "category": facts.category, "price_micros": facts.price_micros,
                 "currency": currency, "url": facts.url, "in_stock": True, "attributes_json": "",
                 "as_of_ms": start_ms if self._rule.as_of == "start" else facts.moment_ms}
                for item, facts in sorted(self.items.items())]
