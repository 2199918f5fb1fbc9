"""What the storefront sells: its items and the records that state their facts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from streams.kernel.money import to_micros
from streams.worlds.sections import read

FILE = Path(__file__).with_name("catalogue.yml")


@dataclass(frozen=True, slots=True)
class Item:
    item_id: str
    category: str
    title: str
    price: float


@dataclass(frozen=True, slots=True)
class Shop:
    tenant: str
    currency: str
    url: str
    items: tuple[Item, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item.category for item in self.items))

    def of(self, category: str) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.category == category)

    def records(self, as_of_ms: int) -> list[dict[str, Any]]:
        """catalogue.items records, true as of `as_of_ms`."""
        return [{"tenant": self.tenant, "item_id": item.item_id, "title": item.title,
                 "category": item.category, "price_micros": to_micros(item.price),
                 "currency": self.currency, "url": self.url.replace("{item_id}", item.item_id),
                 "in_stock": True, "attributes_json": "", "as_of_ms": as_of_ms}
                for item in self.items]


@cache
def load(path: Path = FILE) -> Shop:
    """The shop in the file at `path`. Raises MappingError with its line when it does not hold."""
    top = read(path)
    shelves, items = top.section("categories"), list[Item]()
    if shelves is None:
        top.fail_here("'categories' is required")
    for category in shelves.names():
        shelf = shelves.section(category)
        for item_id in shelf.names() if shelf else ():
            item = shelf.section(item_id) if shelf else None
            if item is not None:
                items.append(Item(item_id, category, item.text("title"), item.number("price", 0)))
                item.close()
    shop = Shop(top.text("tenant"), top.text("currency"), top.text("url"), tuple(items))
    top.close()
    return shop
