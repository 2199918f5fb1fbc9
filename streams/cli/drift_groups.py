"""The questions of `kairos drift` about groups: everybody, segments, items and other things."""

from __future__ import annotations

from sinks.report import group_drift
from streams.choose.entities.sql import naming
from streams.choose.features.sql import recount
from streams.choose.program import Program


def questions(program: Program, *, sample: int = group_drift.SAMPLE,
              tenant: str = "") -> dict[str, str]:
    """{kind of group: SQL} of what a program keeps rows of. Texts of groups stay in Kafka, so they
    are not among the features.

    sample   most shares of each tenant and kind
    """
    recent_ids, found = program.people.recent_ids, {}
    if program.group_names:
        numbers = recount((spec for spec in program.groups.specs if spec.value_is == "number"),
                          recent_ids=recent_ids, wide=True)
        for kind in (group_drift.EVERYBODY, group_drift.SEGMENT):
            found[kind] = group_drift.question(kind, numbers, sample=sample, tenant=tenant)
    for spec in program.entities:
        own = recount(spec.features, recent_ids=recent_ids, wide=True)
        found[spec.name] = group_drift.question(spec.name, own, naming=naming(spec), sample=sample,
                                                tenant=tenant)
    return found
