"""The words a playbook may use: strategies, slots, facts, channels, locales.

One list each, read by the loader, the JSON Schema, the grammar and the gates alike.
"""

from __future__ import annotations

from typing import Final

STRATEGIES: Final[dict[str, str]] = {
    "reminder": "say plainly what is there and where to find it",
    "social_proof": "say that others decide the same way; popularity only when the fact is true",
    "helpful": "offer help with the choice; no push",
    "appreciation": "thank the person for being a customer",
    "replenish": "say that it may be time for the next one",
    "comeback": "welcome somebody back after a pause",
    "curiosity": "open a question that the item answers",
}

# Bound before a message is ready. True or false facts are not slots: they only license claims.
ITEM_SLOTS: Final[tuple[str, ...]] = ("item.title", "item.price", "item.url")
CLAIM_FACTS: Final[dict[str, str]] = {
    "item.low_stock": "only few are left",
    "item.ends_soon": "an offer or edition ends soon",
    "item.free_shipping": "shipping costs nothing",
    "item.discounted": "the price is lower than it was",
    "item.bestseller": "it is among the most bought",
    "item.new": "it is new in the catalogue",
}
FACTS: Final[tuple[str, ...]] = ITEM_SLOTS + tuple(CLAIM_FACTS)

# Bound at the exit, from the vault and the web address; they stand in the message as they are.
LATE_SLOTS: Final[tuple[str, ...]] = ("first_name", "unsubscribe_url")
SLOTS: Final[tuple[str, ...]] = (*ITEM_SLOTS, "shop", *LATE_SLOTS)

# Where the figure stands in the sentence of a playbook's `figures`.
FIGURE: Final = "figure"

WEEKDAYS: Final[tuple[str, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CHANNELS: Final[tuple[str, ...]] = ("email", "webhook")
# The grammar writes English; other locales need an approved template in every variant.
LOCALES: Final[tuple[str, ...]] = ("en", "de", "fr", "es")
GRAMMAR_LOCALES: Final[tuple[str, ...]] = ("en",)
