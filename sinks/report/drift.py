"""Drift: do the values that decisions were made with agree with a recount in SQL?

The frame is here: which decisions, which events each had before it, how values are compared. What a
feature means is handed in as expressions, because the definitions belong to the workers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any, Final, Protocol

from sinks.ddl import quoted, retention_days
from sinks.report.queries import Row
from sinks.topics import BY_TOPIC

SAMPLE: Final = 500
COUNTS: Final = ("compared", "mismatch", "missing", "estimated", "estimated_off", "gone",
                 "merged", "not_logged")


class Expression(Protocol):
    """One feature: its value (NULL: none), by how much it may differ, how far back it reaches;
    and of texts what is held against it, '' for what the decision says."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def tolerance(self) -> str: ...
    @property
    def reach_ms(self) -> int: ...
    @property
    def logged(self) -> str: ...


class Recount(Protocol):
    """The features as SQL over the events of one moment; see `streams.choose.features.sql`."""

    @property
    def marks(self) -> Sequence[str]: ...
    @property
    def expressions(self) -> Sequence[Expression]: ...
    @property
    def recent_ids(self) -> int: ...


_COUNTS: Final = Template("""\
SELECT tenant AS world, $of AS feature,
       countIf(verdict IN ('agrees', 'mismatch', 'missing')) AS compared,
       countIf(verdict = 'mismatch' AND tolerance = 0) AS mismatch,
       countIf(verdict = 'missing') AS missing,
       countIf(verdict IN ('agrees', 'mismatch') AND tolerance > 0) AS estimated,
       countIf(verdict = 'mismatch' AND tolerance > 0) AS estimated_off,
       countIf(verdict = 'gone') AS gone, countIf(verdict = 'merged') AS merged,
       countIf(verdict = 'not_logged') AS not_logged,
       ifNull(maxIf(abs(difference), verdict IN ('agrees', 'mismatch')), 0) AS greatest,
       ifNull(sumIf(difference, verdict IN ('agrees', 'mismatch')), 0)
           / greatest(countIf(verdict IN ('agrees', 'mismatch')), 1) AS skew
FROM judged
GROUP BY world, feature
ORDER BY world, feature""")

_FRAME: Final = Template("""\
-- Drift: every feature counted anew from the landed events, beside the value that a sample of
-- decisions was made with.
WITH
topics AS (   -- a topic that was made anew counts its offsets anew
    SELECT topic, argMax(topic_id, inserted_at) AS newest_id
    FROM sink_batches WHERE topic IN ('events.admitted', 'decisions.made') GROUP BY topic
),
landed AS (   -- per partition: how far it has landed, and since when
    SELECT toInt64(partition) AS partition, toInt64(max(last_offset)) AS to_offset,
           min(toUnixTimestamp64Milli(inserted_at)) AS since_ms
    FROM sink_batches WHERE (topic, topic_id) IN (SELECT topic, newest_id FROM topics)
        AND topic = 'events.admitted'
    GROUP BY partition
),
sampled AS (   -- the same decisions each time, whatever the order they landed in
    SELECT tenant, decision_id, profile_id, moment_ms, features_json,
           toInt64(origin_partition) AS of_partition, origin_offset AS of_offset
    FROM raw_decisions_made
    WHERE _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'decisions.made')
        AND (tenant, decision_id) IN (
            SELECT tenant, decision_id FROM raw_decisions_made
            WHERE _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'decisions.made')$tenant
            GROUP BY tenant, decision_id
            ORDER BY sipHash64(decision_id), decision_id LIMIT $sample BY tenant)
    ORDER BY _partition, _offset LIMIT 1 BY tenant, decision_id
),
heard AS (   -- a replay repeats an origin, a producer an id: neither is heard twice
    SELECT tenant, profile_id, toInt64(_partition) AS in_partition, toInt64(_offset) AS at_offset,
           event_type, event_ms, value_micros, toInt64(floor(quantity * 1000 + 0.5)) AS thousandths,
           item_id, category, source, currency, country, properties_json,
           if(lines_json = '', if(item_id = '', [], [item_id]), arrayMap(line -> line.1,
               JSONExtract(lines_json, 'Array(Tuple(String, Float64, Int64))'))) AS items,
           bitAnd(purposes, 2) != 0 AND NOT has(groupArray(event_id) OVER (
               PARTITION BY tenant, profile_id ORDER BY _offset
               ROWS BETWEEN $recent_ids PRECEDING AND 1 PRECEDING), event_id) AS is_usable
    FROM (
        SELECT * FROM raw_events_admitted
        WHERE (tenant, profile_id) IN (SELECT tenant, profile_id FROM sampled)
            AND _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'events.admitted')
        ORDER BY _partition, _offset
        LIMIT 1 BY _partition, origin_partition, origin_offset, origin_sequence
    )
),
before AS (   -- each decision with the events up to the record that caused it
    SELECT sampled.tenant AS tenant, decision_id, moment_ms, features_json, of_partition, of_offset,
           at_offset, event_type, event_ms, value_micros, thousandths, items,
           event_type IN ('identify', 'alias') AS is_link,
           is_usable AND at_offset <= of_offset AS counted,
           $marks
    FROM sampled LEFT JOIN heard ON heard.tenant = sampled.tenant
        AND heard.profile_id = sampled.profile_id AND heard.in_partition = sampled.of_partition
    WINDOW moment AS (PARTITION BY sampled.tenant, decision_id)
),
recounted AS (
    SELECT tenant, decision_id, moment_ms, features_json, of_partition, of_offset,
           countIf(counted) > 0 AS has_events,
           -- A person may bring along what they did as a visitor; it stands under another id, and
           -- who that was is told to nobody.
           countIf(is_link) > 0 AS may_bring,
           $values,
           [$listed] AS features
    FROM before
    GROUP BY tenant, decision_id, moment_ms, features_json, of_partition, of_offset
),
judged AS (   -- events are kept for $kept_days days; what reaches further back cannot be told
    SELECT tenant, feature.1 AS name, feature.2 AS expected, feature.3 AS tolerance,
           if(feature.5, feature.6,
              JSONExtract(features_json, name, 'value', 'Nullable(Float64)')) AS logged,
           toUnixTimestamp64Milli(now64(3)) - $kept_days * 86400000 AS kept_from_ms,
           isNull(logged) != isNull(expected) AS is_missing,
           ifNull(abs(logged - expected) > tolerance + 1e-6 + 1e-12 * abs(expected), 0) AS differs,
           multiIf(
               NOT JSONHas(features_json, name), 'not_logged',
               NOT has_events OR of_offset > to_offset
                   OR JSONHas(features_json, name, 'since_ms') OR (since_ms < kept_from_ms
                       AND moment_ms - feature.4 < kept_from_ms + 86400000), 'gone',
               may_bring AND (is_missing OR differs), 'merged',
               is_missing, 'missing', differs, 'mismatch', 'agrees') AS verdict,
           if(verdict = 'agrees' AND tolerance = 0, 0, logged - expected) AS difference
    FROM recounted LEFT JOIN landed ON landed.partition = recounted.of_partition
    ARRAY JOIN features AS feature
)
$counts""")



def question(recount: Recount, *, sample: int = SAMPLE, tenant: str = "") -> str:
    """The SQL, whole: it has no parameters and may be pasted.

    sample   most decisions of each tenant, chosen by a hash of their ids
    tenant   only this one; '' means all
    """
    return _FRAME.substitute(
        columns_of(recount), sample=int(sample), recent_ids=int(recount.recent_ids),
        tenant=f" AND tenant = {quoted(tenant)}" if tenant else "",
        kept_days=retention_days(BY_TOPIC["events.admitted"]))


def columns_of(recount: Recount, *, of: str = "") -> dict[str, str]:
    """What a frame takes in: marks of events, values, the list of what is judged, and the counts.

    of   stands before the names of features
    """
    values, listed, between = [], [], ",\n           "
    none = "CAST(NULL, 'Nullable(Float64)')"
    for each in recount.expressions:
        values.append(f"{each.value} AS f_{each.name}")
        tolerance = each.tolerance
        if tolerance != "0":
            values.append(f"{tolerance} AS t_{each.name}")
            tolerance = f"t_{each.name}"
        logged = f"1, toNullable(toFloat64({each.logged}))" if each.logged else f"0, {none}"
        listed.append(f"({quoted(each.name)}, toNullable(toFloat64(f_{each.name})), "
                      f"toFloat64({tolerance}), toInt64({each.reach_ms}), {logged})")
    return {"marks": between.join(recount.marks), "values": between.join(values),
            "listed": between.join(listed), "counts": _COUNTS.substitute(
                of=f"concat({quoted(of)}, name)" if of else "name")}


def by_feature(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """{feature: counts, greatest, skew} over all the rows, in their order."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        told = found.setdefault(row["feature"], {**dict.fromkeys(COUNTS, 0), "greatest": 0.0,
                                                 "skew": 0.0})
        before, more = (_with_values(one) for one in (told, row))
        told["skew"] = (told["skew"] * before + row["skew"] * more) / max(before + more, 1)
        told["greatest"] = max(told["greatest"], row["greatest"])
        for name in COUNTS:
            told[name] += row[name]
    return found


def by_world(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """{tenant: {feature: figures}}."""
    return {world: by_feature(row for row in rows if row["world"] == world)
            for world in sorted({row["world"] for row in rows})}


def _with_values(row: Mapping[str, Any]) -> int:
    """How many comparisons had a difference to be counted."""
    return int(row["compared"] - row["missing"])


def drifted(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The features whose exact values disagree, or that only one side has."""
    return [name for name, told in found.items() if told["mismatch"] or told["missing"]]


def sentence(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What was found, in one sentence."""
    total = {name: sum(told[name] for told in found.values()) for name in COUNTS}
    said = (f"{total['compared']:,} values of {len(found)} features counted anew in SQL: "
            f"{total['mismatch']:,} differ, {total['missing']:,} are on one side only")
    if total["estimated"]:
        said += (f"; {total['estimated']:,} of them are estimates, "
                 f"{total['estimated_off']:,} beyond their error")
    if total["gone"]:
        said += f"; {total['gone']:,} more could not be told: their events are not all there"
    if total["merged"]:
        said += (f"; {total['merged']:,} more are of people who may have brought along what they "
                 "did as visitors")
    if total["not_logged"]:
        said += f"; {total['not_logged']:,} decisions were made before the feature was declared"
    return said + "."
