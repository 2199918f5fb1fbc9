"""Clocks: how far each tenant's time has come in one partition, and what was said of it.

A tenant has the wall clock, or an event clock that only its own `clock` events move (replays and
simulations). It is event-clocked when a published playbook of it says `clock: event`, or from its
first clock event on. Lives in the partition's notes, which are saved exactly at the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from streams.engine.watermarks import NEVER
from streams.kernel.moments import MINUTE_MS, SECOND_MS

LATENESS_MS: Final = MINUTE_MS       # on the wall clock, events may come this much out of order
SETTLED_MS: Final = MINUTE_MS        # until all partitions have the clock events of a replay
STEP_MS: Final = SECOND_MS           # smaller advances of a wall clock are not worth a record


class Clocks:
    """A view of the notes: {"clocks": {tenant: [is_event, mark_ms, said_ms]}}.

    mark_ms  up to which event time the tenant has been heard here; NEVER before anything was
    said_ms  the last watermark emitted
    """

    def __init__(self, notes: dict[str, Any], declared: frozenset[str]) -> None:
        """`declared`: the tenants whose playbooks say `clock: event`."""
        self._marks: dict[str, list[Any]] = notes.setdefault("clocks", {})
        self._declared = declared

    def __len__(self) -> int:
        return len(self._marks)

    def __contains__(self, tenant: str) -> bool:
        return tenant in self._marks

    def is_event(self, tenant: str) -> bool:
        mark = self._marks.get(tenant)
        return tenant in self._declared or (mark is not None and mark[0])

    def event_mark_ms(self, tenant: str) -> int:
        """The event clock's present time; NEVER before its first clock event."""
        mark = self._marks.get(tenant)
        return mark[1] if mark is not None and mark[0] else NEVER

    def tick(self, tenant: str, event_ms: int) -> None:
        """A clock event: from here on the tenant's time is what its clock events say."""
        mark = self._marks.get(tenant)
        if mark is None or not mark[0]:
            self._marks[tenant] = [True, event_ms, NEVER]
        else:
            mark[1] = max(mark[1], event_ms)

    def see(self, tenant: str, event_ms: int, *, appended_ms: int) -> None:
        """An ordinary event: it moves the wall clock, up to the broker's time, and no other."""
        if not self.is_event(tenant):
            self._reach(tenant, min(event_ms, appended_ms) - LATENESS_MS)

    def _reach(self, tenant: str, mark_ms: int) -> None:
        mark = self._marks.setdefault(tenant, [False, NEVER, NEVER])
        mark[1] = max(mark[1], mark_ms)

    def idle(self, tenants: Iterable[str], *, now_ms: int) -> None:
        """Nothing is waiting: the wall clocks stand a lateness before now.

        `tenants` have a playbook, or people in other partitions; those heard of here wait for time
        as well: people leave a segment when a window lapses, whether a playbook asks or not.
        """
        for tenant in sorted({*tenants, *self._marks}):
            if not self.is_event(tenant):
                self._reach(tenant, now_ms - LATENESS_MS)

    def elsewhere(self, tenants: Mapping[str, int], *, now_ms: int, tenants_max: int) -> list[str]:
        """Tenants that only other partitions have heard of, as many as there is room for.

        A tenant's time is that of the slowest partition, so one that never hears of it must say
        that it has nothing of it either, or no window of its people ever lapses.

        tenants   tenant -> wall clock of the first word of its people. `SETTLED_MS` later the clock
                  events with which a replay begins, which go to every partition, have been read:
                  whoever is not event-clocked here by then lives by the wall clock
        """
        new = sorted(tenant for tenant, heard_ms in tenants.items()
                     if tenant not in self._marks and heard_ms <= now_ms - SETTLED_MS)
        return new[:max(tenants_max - len(self._marks), 0)]

    def take_advances(self) -> list[tuple[str, int]]:
        """(tenant, watermark) of every clock that advanced since it was last said."""
        return [(tenant, mark_ms) for tenant in self._marks
                if (mark_ms := self.take_advance(tenant)) is not None]

    def take_advance(self, tenant: str) -> int | None:
        """The tenant's watermark, when its clock advanced since it was last said."""
        is_event, mark_ms, said_ms = mark = self._marks[tenant]
        if not is_event and tenant in self._declared:
            return None                              # a wall mark from before the declaration
        if mark_ms <= said_ms or not (is_event or mark_ms - said_ms >= STEP_MS):
            return None
        mark[2] = mark_ms
        return int(mark_ms)


def clocked(playbooks: Mapping[tuple[str, str], Mapping[str, Any]], clock: str,
            ) -> frozenset[str]:
    """The tenants whose standing playbooks live by `clock`: "event" when one of them says so,
    "wall" when there are some and none does."""
    by_tenant: dict[str, set[str]] = {}
    for record in playbooks.values():
        if record["active"]:
            by_tenant.setdefault(record["tenant"], set()).add(_clock_of(record["yaml"]))
    return frozenset(tenant for tenant, clocks in by_tenant.items()
                     if ("event" in clocks) == (clock == "event"))


def _clock_of(source: str) -> str:
    try:
        document = YAML(typ="safe", pure=True).load(StringIO(source))
    except YAMLError:
        return "wall"
    return str(document.get("clock", "wall")) if isinstance(document, dict) else "wall"
