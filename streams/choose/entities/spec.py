"""What an entity is: declared features of things, and how many things are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from streams.choose import kernel
from streams.choose.features.layout import Layout
from streams.choose.features.spec import FILTERS, FeatureSpec
from streams.kernel.moments import DAY_MS

# Entities of names: a column of the event, or a text among its free properties.
ITEM, CATEGORY, CAMPAIGN, PROPERTY = "item", "category", "campaign", "property."
KEEP_MAX, TELL_MAX, TELL_DEFAULT = 100_000, 5_000, 200
ROWS_BYTES_MAX: Final = 64 << 20           # of one entity, tenant and partition
KINDS: Final = frozenset({"count", "sum", "mean", "variance", "min", "max", "rate", "distinct",
                          "decay", "lifetime", "since", "ratio"})

# Kept of every thing, whatever is declared: how much is heard of it, and of how many people.
HEAT = FeatureSpec("_heat", "*", "decay", half_life_ms=DAY_MS)
PEOPLE_WINDOW_MS_MIN, PEOPLE_WINDOW_MS_MAX = DAY_MS, 400 * DAY_MS


def _reach_ms(spec: FeatureSpec) -> int:
    """How far back a feature mostly looks."""
    if spec.kind in ("lifetime", "since"):
        return PEOPLE_WINDOW_MS_MAX
    return 4 * spec.half_life_ms if spec.kind == "decay" else spec.window_ms


@dataclass(frozen=True)
class EntitySpec:
    """`features` of each thing of the entity. `distinct` counts people.

    keep   things per tenant and partition; of more, the coldest go
    tell   of these the hottest, which all workers hear of
    """

    name: str
    keep: int
    tell: int
    features: tuple[FeatureSpec, ...]

    @cached_property
    def people(self) -> FeatureSpec:
        """How many people there are behind what is shown: over the longest window."""
        window_ms = max(PEOPLE_WINDOW_MS_MIN, *(_reach_ms(spec) for spec in self.features))
        return FeatureSpec("_people", "*", "distinct", min(window_ms, PEOPLE_WINDOW_MS_MAX))

    @cached_property
    def where_fields(self) -> tuple[str, ...]:
        asked = {spec.where[0] for spec in self.features if spec.where}
        return tuple(name for name in FILTERS if name in asked)

    @cached_property
    def layout(self) -> Layout:
        return Layout((HEAT, self.people, *self.features), wide=True, recent_ids=0,
                      where_fields=self.where_fields)

    @cached_property
    def program(self) -> kernel.Program:
        layout = self.layout
        return kernel.Program(layout.types, layout.op_starts, layout.ops, layout.reads,
                              layout.types_of([]))

    @cached_property
    def hears_all(self) -> bool:
        """Does any declared feature look at events of every type?"""
        return any(spec.event == "*" for spec in self.features)

    @property
    def property_name(self) -> str:
        """The free property that names the thing; '' when a column does."""
        if self.name == CAMPAIGN:
            return CAMPAIGN
        return self.name.removeprefix(PROPERTY) if self.name.startswith(PROPERTY) else ""
