"""The playbooks in force, parsed once per version of the side inputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from streams.kernel.errors import PlaybookError
from streams.kernel.side_inputs import SideInputs
from streams.playbooks.model import Playbook

log = logging.getLogger(__name__)

Parse = Callable[[str, str, int], Playbook]


class ActivePlaybooks:
    """`parse(yaml, tenant, version)` makes a playbook of a published text.

    A text that it refuses was not published by `kairos apply`: it is said once and passed over,
    because nobody else's playbooks may stop for it.
    """

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._version = -1
        self._by_tenant: dict[str, tuple[Playbook, ...]] = {}
        self._parsed: dict[tuple[str, str, int], Playbook | None] = {}

    def of(self, side: SideInputs, tenant: str) -> Sequence[Playbook]:
        """Active playbooks of `tenant`, by name."""
        if side.version != self._version:
            self._refresh(side)
        return self._by_tenant.get(tenant, ())

    def tenants(self, side: SideInputs) -> dict[str, str]:
        """{tenant: clock} of all tenants that have a playbook; one with an event clock decides."""
        if side.version != self._version:
            self._refresh(side)
        return {tenant: "event" if any(p.clock == "event" for p in playbooks) else "wall"
                for tenant, playbooks in self._by_tenant.items()}

    def by_wall(self, side: SideInputs, tenant: str) -> bool:
        """Whether the tenant has playbooks and all of them live by the wall clock."""
        own = self.of(side, tenant)
        return bool(own) and all(playbook.clock == "wall" for playbook in own)

    def named(self, side: SideInputs, tenant: str, name: str, version: int) -> Playbook | None:
        """The playbook as it was in `version`, when the newest is that one or it was seen before;
        else the newest of that name."""
        found = self._parsed.get((tenant, name, version))
        if found is not None:
            return found
        return next((p for p in self.of(side, tenant) if p.name == name), None)

    def _refresh(self, side: SideInputs) -> None:
        by_tenant: dict[str, list[Playbook]] = {}
        for (tenant, name), record in sorted(side.playbooks.items()):
            key = (tenant, name, record["version"])
            if key not in self._parsed:
                self._parsed[key] = self._read(tenant, name, record["version"], record["yaml"])
            found = self._parsed[key]
            if record["active"] and found is not None:
                by_tenant.setdefault(tenant, []).append(found)
        self._by_tenant = {tenant: tuple(playbooks) for tenant, playbooks in by_tenant.items()}
        self._version = side.version

    def _read(self, tenant: str, name: str, version: int, text: str) -> Playbook | None:
        try:
            return self._parse(text, tenant, version)
        except PlaybookError as fault:
            log.warning("playbook %s of tenant %s, version %d, is passed over: %s", name, tenant,
                        version, fault)
            return None
