"""Drift of groups: does what partitions said of segments, of everybody and of things agree with a
recount in SQL?

A share on segments.rolled says what one partition's row came to, and up to where in its log it had
heard. The frame is here: which shares, which events each had before it, who was in a segment when.
What a feature means, and which things an event names, is handed in as expressions. Pure.
"""

from __future__ import annotations

from string import Template
from typing import Final

from sinks.ddl import quoted, retention_days
from sinks.report.drift import Recount, columns_of
from sinks.topics import BY_TOPIC

SAMPLE: Final = 40
EVERYBODY, SEGMENT = "everybody", "segment"

_FRAME: Final = Template("""\
-- Drift of $kind: every feature counted anew from the landed events, beside the value that a sample
-- of partitions' shares had.
WITH
topics AS (   -- a topic that was made anew counts its offsets anew
    SELECT topic, argMax(topic_id, inserted_at) AS newest_id FROM sink_batches
    WHERE topic IN ('events.admitted', 'segments.rolled', 'segments.changed') GROUP BY topic
),
landed AS (   -- per partition: how far it has landed, and since when
    SELECT toInt64(partition) AS partition, toInt64(max(last_offset)) AS to_offset,
           min(toUnixTimestamp64Milli(inserted_at)) AS since_ms
    FROM sink_batches WHERE (topic, topic_id) IN (SELECT topic, newest_id FROM topics)
        AND topic = 'events.admitted'
    GROUP BY partition
),
sampled AS (   -- shares of any age, the same each time
    SELECT tenant, segment AS name, toInt64(partition) AS of_partition, _offset AS share,
           event_ms AS moment_ms, heard AS heard_to, members, changes, caveat,
           values_json AS features_json
    FROM raw_segments_rolled
    WHERE _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'segments.rolled')
        AND $which AND heard > 0 AND values_json != ''$tenant
    ORDER BY sipHash64(tenant, segment, partition, _offset), segment, partition, _offset
    LIMIT $sample BY tenant
),
heard AS (   -- a replay repeats an origin, a producer an id: neither is heard twice
    SELECT tenant, profile_id, toInt64(_partition) AS in_partition, toInt64(_offset) AS at_offset,
           event_type, event_ms, value_micros, toInt64(floor(quantity * 1000 + 0.5)) AS thousandths,
           item_id, category, source, currency, country, properties_json,
           JSONExtract(lines_json, 'Array(Tuple(String, Float64, Int64))') AS order_lines,
           if(empty(order_lines), if(item_id = '', [], [item_id]),
              arrayMap(line -> line.1, order_lines)) AS items,
           bitAnd(purposes, 2) != 0 AND NOT has(groupArray(event_id) OVER (
               PARTITION BY tenant, profile_id ORDER BY _offset
               ROWS BETWEEN $recent_ids PRECEDING AND 1 PRECEDING), event_id) AS is_usable
    FROM (
        SELECT * FROM raw_events_admitted
        WHERE (tenant, toInt64(_partition)) IN (SELECT tenant, of_partition FROM sampled)
            AND _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'events.admitted')
        ORDER BY _partition, _offset
        LIMIT 1 BY _partition, origin_partition, origin_offset, origin_sequence
    )
),
$stays
named AS (   -- events, by the group whose they are
    $named
),
before AS (   -- each share with the events before it
    SELECT sampled.tenant AS tenant, sampled.name AS name, of_partition, share, moment_ms, heard_to,
           caveat, features_json, named.at_offset AS at_offset, event_type, event_ms,
           value_micros, thousandths, items, is_usable AND at_offset < heard_to AS counted,
           $marks
    FROM sampled LEFT JOIN named ON named.tenant = sampled.tenant AND named.name = sampled.name
        AND named.in_partition = sampled.of_partition
    WINDOW moment AS (PARTITION BY sampled.tenant, sampled.name, of_partition, share)
),
recounted AS (
    SELECT tenant, name AS group_name, of_partition, share, moment_ms, heard_to, caveat,
           features_json,
           $values,
           [$listed] AS features
    FROM before
    GROUP BY tenant, name, of_partition, share, moment_ms, heard_to, caveat, features_json
),
judged AS (   -- events are kept for $kept_days days; what reaches further back cannot be told
    SELECT tenant, feature.1 AS name, feature.2 AS expected, feature.3 AS tolerance,
           JSONExtract(features_json, name, 'value', 'Nullable(Float64)') AS logged,
           toUnixTimestamp64Milli(now64(3)) - $kept_days * 86400000 AS kept_from_ms,
           isNull(logged) != isNull(expected) AS is_missing,
           ifNull(abs(logged - expected) > tolerance + 1e-6 + 1e-12 * abs(expected), 0) AS differs,
           multiIf(
               NOT JSONHas(features_json, name), 'not_logged',
               heard_to - 1 > to_offset OR JSONHas(features_json, name, 'since_ms') OR $unknown
                   OR (since_ms < kept_from_ms
                       AND moment_ms - feature.4 < kept_from_ms + 86400000)
                   OR (caveat = 'let_go' AND (is_missing OR differs)), 'gone',
               caveat = 'passed_on' AND (is_missing OR differs), 'merged',
               is_missing, 'missing', differs, 'mismatch', 'agrees') AS verdict,
           if(verdict = 'agrees' AND tolerance = 0, 0, logged - expected) AS difference
    FROM recounted LEFT JOIN landed ON landed.partition = recounted.of_partition
    ARRAY JOIN features AS feature
)
$counts""")

# Who was in a segment from which event on, up to which: the event that lets somebody in is counted.
_STAYS: Final = """\
stays AS (
    SELECT tenant, profile_id, segment, in_partition, entered, from_offset,
           leadInFrame(from_offset, 1, 9223372036854775807) OVER (
               PARTITION BY tenant, profile_id, segment ORDER BY from_offset, sequence
               ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS to_offset
    FROM (
        SELECT tenant, profile_id, segment, entered, toInt64(origin_partition) AS in_partition,
               toInt64(origin_offset) AS from_offset, origin_sequence AS sequence
        FROM raw_segments_changed
        WHERE (tenant, segment) IN (SELECT tenant, name FROM sampled)
            AND _topic_id IN (SELECT newest_id FROM topics WHERE topic = 'segments.changed')
        ORDER BY _partition, _offset
        LIMIT 1 BY origin_partition, origin_offset, origin_sequence
    )
),
known AS (   -- shares of which all changes are here: they come to as many, and to the members
    SELECT sampled.tenant AS tenant, sampled.name AS name, of_partition, share
    FROM sampled LEFT JOIN stays ON stays.tenant = sampled.tenant AND stays.segment = sampled.name
        AND stays.in_partition = sampled.of_partition
    GROUP BY tenant, name, of_partition, share, heard_to, members, changes
    HAVING countIf(entered AND from_offset < heard_to AND heard_to <= to_offset) = members
        AND countIf(stays.segment != '' AND from_offset < heard_to) >= changes
),"""
_IN_SEGMENTS: Final = """\
SELECT heard.*, stays.segment AS name
    FROM heard INNER JOIN stays ON stays.tenant = heard.tenant
        AND stays.profile_id = heard.profile_id AND stays.in_partition = heard.in_partition
    WHERE is_usable AND entered AND from_offset <= at_offset AND at_offset < to_offset"""
_MEMBERS_UNKNOWN: Final = ("(tenant, group_name, of_partition, share) NOT IN (SELECT tenant, name, "
                           "of_partition, share FROM known)")


def question(kind: str, recount: Recount, *, naming: str = "", sample: int = SAMPLE,
             tenant: str = "") -> str:
    """The SQL of one kind of group, whole: it has no parameters and may be pasted.

    kind     everybody, segment, or the entity whose things `naming` finds in an event
    naming   of things: Array(Tuple(name, micro-units, thousandths)) of an event
    sample   most shares of each tenant, chosen by a hash
    tenant   only this one; '' means all
    """
    stays, unknown, which = "", "0", f"entity = {quoted(kind)}"
    if kind == EVERYBODY:
        which, named = "entity = 'segment' AND segment = ''", (
            "SELECT heard.*, '' AS name FROM heard WHERE is_usable")
    elif kind == SEGMENT:
        stays, named, unknown = _STAYS, _IN_SEGMENTS, _MEMBERS_UNKNOWN
        which += " AND segment != ''"
    else:           # people take the place of items
        named = ("SELECT heard.* REPLACE (thing.2 AS value_micros, thing.3 AS thousandths, "
                 f"[profile_id] AS items), thing.1 AS name\n    FROM heard ARRAY JOIN {naming} "
                 "AS thing\n    WHERE is_usable")
    return _FRAME.substitute(
        columns_of(recount, of=f"{kind}: "), kind=kind, which=which, stays=stays, named=named,
        unknown=unknown, sample=int(sample), recent_ids=int(recount.recent_ids),
        tenant=f" AND tenant = {quoted(tenant)}" if tenant else "",
        kept_days=retention_days(BY_TOPIC["events.admitted"]))
