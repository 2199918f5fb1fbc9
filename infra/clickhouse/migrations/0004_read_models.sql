-- Read models: what the landed facts add up to. Each opens from the views of 0002.

CREATE OR REPLACE VIEW segment_sizes
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `segment` LowCardinality(String) COMMENT 'Segment.',
    `members` Int64 COMMENT 'Members now.',
    `sums` Map(String, Float64) COMMENT 'Sum of each rolling feature over the members, by feature.',
    `as_of_at` DateTime64(3, 'UTC') COMMENT 'Event time of the newest share.'
)
AS SELECT tenant, segment, sum(shares.members) AS members,
       sumMap(JSONExtract(shares.sums_json, 'Map(String, Float64)')) AS sums,
       max(shares.event_at) AS as_of_at
FROM segment_shares AS shares
GROUP BY tenant, segment
COMMENT 'Members and summed features of each segment now, all partitions together.';

CREATE OR REPLACE VIEW policies
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `segment` LowCardinality(String) COMMENT 'Segment cell; \'*\' is everybody.',
    `arm` String COMMENT 'Variant.',
    `trials` Int64 COMMENT 'Matured decisions.',
    `successes` Int64 COMMENT 'Of these, converted.',
    `value_micros` Int64 COMMENT 'Value of these conversions, micro-units.',
    `updated_at` DateTime64(3, 'UTC') COMMENT 'Tenant\'s time of the newest reward in it.'
)
AS SELECT tenant, playbook, segment, entry.1 AS arm,
       sum(JSONExtractInt(entry.2, 'trials')) AS trials,
       sum(JSONExtractInt(entry.2, 'successes')) AS successes,
       sum(JSONExtractInt(entry.2, 'value_micros')) AS value_micros,
       max(shares.updated_at) AS updated_at
FROM policy_shares AS shares
ARRAY JOIN JSONExtractKeysAndValuesRaw(shares.arms_json) AS entry
GROUP BY tenant, playbook, segment, entry.1
COMMENT 'What has been learnt of each arm, all partitions together.';

CREATE OR REPLACE VIEW decision_story
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `decision_id` String COMMENT 'The one id from trigger to conversion.',
    `profile_id` String COMMENT 'Pseudonymous profile id.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` LowCardinality(String) COMMENT 'Variant chosen; for a hold-out the one that would have been.',
    `holdout` Bool COMMENT 'True: nothing was sent, the person is the comparison.',
    `propensity` Float64 COMMENT 'Probability of the arm given not held out, (0, 1].',
    `segment` LowCardinality(String) COMMENT 'Segment cell the policy was read at.',
    `trigger` LowCardinality(String) COMMENT 'event, absence, recency or segment.',
    `channel` LowCardinality(String) COMMENT 'Channel chosen.',
    `moment_at` DateTime64(3, 'UTC') COMMENT 'The moment, in the tenant\'s time.',
    `rung` LowCardinality(String) COMMENT 'Rung that wrote the message; empty when there is none.',
    `model` LowCardinality(String) COMMENT 'Model or generator that wrote it.',
    `subject` String COMMENT 'Subject line; the first name is not in it.',
    `latency_ms` Int64 COMMENT 'From the event in Kafka to the ready message, milliseconds; 0 without a message.',
    `delivery_status` String COMMENT 'sent, skipped or failed; empty when nothing reached the exit.',
    `delivery_reason` String COMMENT 'Reason code when not sent.',
    `sent_at` DateTime64(3, 'UTC') COMMENT 'Tenant\'s time of the dispatch; 1970 when not sent.',
    `receipts` Array(String) COMMENT 'Kinds of receipts that came back.',
    `opened` UInt8 COMMENT '1: a person opened it (machines left out).',
    `clicked` UInt8 COMMENT '1: a person clicked it (machines left out).',
    `conversions` UInt64 COMMENT 'Conversions joined to this decision.',
    `value_micros` Int64 COMMENT 'Their value less refunds, micro-units.',
    `converted_at` DateTime64(3, 'UTC') COMMENT 'The first of them; 1970 when there is none.',
    `closed` UInt8 COMMENT '1: the conversion window is over.',
    `calls` UInt64 COMMENT 'Model calls, failed ones included.',
    `cost_usd_micros` Int64 COMMENT 'Their cost, micro-dollars.',
    `refusal_reasons` Array(String) COMMENT 'Reason codes of what was refused or skipped for this decision.'
)
AS SELECT made.tenant AS tenant, made.decision_id AS decision_id, made.profile_id AS profile_id,
       made.playbook AS playbook, made.arm AS arm, made.holdout AS holdout,
       made.propensity AS propensity, made.segment AS segment, made.trigger AS trigger,
       made.channel AS channel, made.moment_at AS moment_at,
       said.rung AS rung, said.model AS model, said.subject AS subject,
       if(said.ready_ms = 0, 0, said.ready_ms - said.trigger_appended_ms) AS latency_ms,
       left_house.status AS delivery_status, left_house.reason AS delivery_reason,
       left_house.sent_at AS sent_at,
       came_back.kinds AS receipts, came_back.opened AS opened, came_back.clicked AS clicked,
       outcome.conversions AS conversions, outcome.value_micros AS value_micros,
       outcome.converted_at AS converted_at, outcome.closed AS closed,
       spent.calls AS calls, spent.cost_usd_micros AS cost_usd_micros,
       why_not.reasons AS refusal_reasons
FROM decisions AS made
LEFT JOIN messages AS said
    ON said.tenant = made.tenant AND said.decision_id = made.decision_id
LEFT JOIN (
    SELECT tenant, decision_id, argMax(d.status, (d.status = 'sent', d.dispatched_ms)) AS status,
           argMax(d.reason, (d.status = 'sent', d.dispatched_ms)) AS reason,
           argMax(d.sent_at, (d.status = 'sent', d.dispatched_ms)) AS sent_at
    FROM deliveries AS d GROUP BY tenant, decision_id
) AS left_house ON left_house.tenant = made.tenant AND left_house.decision_id = made.decision_id
LEFT JOIN (
    SELECT tenant, decision_id, groupUniqArray(toString(kind)) AS kinds,
           countIf(kind = 'opened' AND NOT machine) > 0 AS opened,
           countIf(kind = 'clicked' AND NOT machine) > 0 AS clicked
    FROM receipts GROUP BY tenant, decision_id
) AS came_back ON came_back.tenant = made.tenant AND came_back.decision_id = made.decision_id
LEFT JOIN (
    SELECT tenant, decision_id, countIf(kind = 'converted') AS conversions,
           sum(r.value_micros) AS value_micros, minIf(event_at, kind = 'converted') AS converted_at,
           countIf(kind = 'closed') > 0 AS closed
    FROM rewards AS r GROUP BY tenant, decision_id
) AS outcome ON outcome.tenant = made.tenant AND outcome.decision_id = made.decision_id
LEFT JOIN (
    SELECT tenant, decision_id, count() AS calls, sum(c.cost_usd_micros) AS cost_usd_micros
    FROM costs AS c GROUP BY tenant, decision_id
) AS spent ON spent.tenant = made.tenant AND spent.decision_id = made.decision_id
LEFT JOIN (
    SELECT tenant, decision_id, groupUniqArray(toString(reason)) AS reasons
    FROM refusals WHERE decision_id != '' GROUP BY tenant, decision_id
) AS why_not ON why_not.tenant = made.tenant AND why_not.decision_id = made.decision_id
COMMENT 'One row per decision, followed from the moment to the outcome.';

CREATE OR REPLACE VIEW arms
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` String COMMENT 'Variant chosen; for a hold-out the one that would have been.',
    `holdout` Bool COMMENT 'True: nothing was sent, the person is the comparison.',
    `units` UInt64 COMMENT 'People, each with their first decision of the playbook.',
    `closed_units` UInt64 COMMENT 'Of these, whose conversion window is over.',
    `conversions` UInt64 COMMENT 'Units whose decision was followed by a conversion within the window.',
    `value_micros` Int64 COMMENT 'Value of the conversions less refunds, micro-units.'
)
AS SELECT first.tenant AS tenant, first.playbook AS playbook, first.arm AS arm,
       first.holdout AS holdout, count() AS units, countIf(outcome.closed) AS closed_units,
       countIf(outcome.conversions > 0) AS conversions, sum(outcome.value_micros) AS value_micros
FROM (
    SELECT tenant, playbook, profile_id, argMin(d.arm, (d.moment_ms, d.decision_id)) AS arm,
           argMin(d.holdout, (d.moment_ms, d.decision_id)) AS holdout,
           argMin(d.decision_id, (d.moment_ms, d.decision_id)) AS decision_id
    FROM decisions AS d GROUP BY tenant, playbook, profile_id
) AS first
LEFT JOIN (
    SELECT tenant, decision_id, countIf(kind = 'converted') AS conversions,
           sum(r.value_micros) AS value_micros, countIf(kind = 'closed') > 0 AS closed
    FROM rewards AS r GROUP BY tenant, decision_id
) AS outcome ON outcome.tenant = first.tenant AND outcome.decision_id = first.decision_id
GROUP BY first.tenant, first.playbook, first.arm, first.holdout
COMMENT 'Outcome by arm. A unit is a person with their first decision of that playbook, so that nobody counts twice; compare holdout with the rest for what the messages added.';

CREATE OR REPLACE VIEW attribution_touches
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `profile_id` String COMMENT 'Pseudonymous profile id.',
    `event_id` String COMMENT 'The conversion event.',
    `order_id` String COMMENT 'Its order, or empty.',
    `converted_at` DateTime64(3, 'UTC') COMMENT 'When it converted.',
    `value_micros` Int64 COMMENT 'Its value, micro-units: the highest that a playbook put on it; refunds are not taken off.',
    `decision_id` String COMMENT 'Decision whose message touched the person.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` LowCardinality(String) COMMENT 'Variant sent.',
    `channel` LowCardinality(String) COMMENT 'Channel it went through.',
    `touched_at` DateTime64(3, 'UTC') COMMENT 'When it was sent, tenant\'s time.'
)
AS SELECT converted.tenant AS tenant, converted.profile_id AS profile_id,
       converted.event_id AS event_id, converted.order_id AS order_id,
       fromUnixTimestamp64Milli(converted.event_ms, 'UTC') AS converted_at,
       converted.value_micros AS value_micros, touch.decision_id AS decision_id,
       touch.playbook AS playbook, touch.arm AS arm, touch.channel AS channel,
       fromUnixTimestamp64Milli(touch.sent_ms, 'UTC') AS touched_at
FROM (
    SELECT reward.tenant AS tenant, reward.profile_id AS profile_id, reward.event_id AS event_id,
           any(reward.order_id) AS order_id, any(reward.event_ms) AS event_ms,
           max(reward.value_micros) AS value_micros, toString(made.conversion) AS conversion
    FROM rewards AS reward
    INNER JOIN decisions AS made
        ON made.tenant = reward.tenant AND made.decision_id = reward.decision_id
    WHERE reward.kind = 'converted'
    GROUP BY reward.tenant, reward.profile_id, reward.event_id, made.conversion
) AS converted
INNER JOIN (
    SELECT sent.tenant AS tenant, sent.profile_id AS profile_id, sent.decision_id AS decision_id,
           sent.playbook AS playbook, sent.arm AS arm, sent.channel AS channel,
           sent.sent_ms AS sent_ms, made.moment_ms + made.window_ms AS until_ms,
           toString(made.conversion) AS conversion
    FROM deliveries AS sent
    INNER JOIN decisions AS made
        ON made.tenant = sent.tenant AND made.decision_id = sent.decision_id
    WHERE sent.status = 'sent'
) AS touch
    ON touch.tenant = converted.tenant AND touch.profile_id = converted.profile_id
   AND touch.conversion = converted.conversion
WHERE touch.sent_ms <= converted.event_ms AND converted.event_ms <= touch.until_ms
COMMENT 'Every conversion beside every message that was sent to the same person before it and within the playbook window; what the attribution views share out.';

CREATE OR REPLACE VIEW attribution_last_touch
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `profile_id` String COMMENT 'Pseudonymous profile id.',
    `event_id` String COMMENT 'The conversion event.',
    `order_id` String COMMENT 'Its order, or empty.',
    `converted_at` DateTime64(3, 'UTC') COMMENT 'When it converted.',
    `decision_id` String COMMENT 'Decision that gets the credit.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` LowCardinality(String) COMMENT 'Variant sent.',
    `channel` LowCardinality(String) COMMENT 'Channel it went through.',
    `touched_at` DateTime64(3, 'UTC') COMMENT 'When it was sent, tenant\'s time.',
    `credit` Float64 COMMENT 'Share of the conversion, (0, 1]; the shares of one conversion add up to 1.',
    `value_micros` Float64 COMMENT 'Share of its value, micro-units.'
)
AS SELECT tenant, profile_id, event_id, order_id, converted_at, decision_id, playbook, arm, channel,
       touched_at, 1. AS credit, toFloat64(touches.value_micros) AS value_micros
FROM attribution_touches AS touches
ORDER BY tenant, profile_id, event_id, touched_at DESC, decision_id DESC
LIMIT 1 BY tenant, profile_id, event_id
COMMENT 'Each conversion credited to the last message before it. Credit is not cause: compare with the view arms.';

CREATE OR REPLACE VIEW attribution_linear
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `profile_id` String COMMENT 'Pseudonymous profile id.',
    `event_id` String COMMENT 'The conversion event.',
    `order_id` String COMMENT 'Its order, or empty.',
    `converted_at` DateTime64(3, 'UTC') COMMENT 'When it converted.',
    `decision_id` String COMMENT 'Decision that gets the credit.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `arm` LowCardinality(String) COMMENT 'Variant sent.',
    `channel` LowCardinality(String) COMMENT 'Channel it went through.',
    `touched_at` DateTime64(3, 'UTC') COMMENT 'When it was sent, tenant\'s time.',
    `credit` Float64 COMMENT 'Share of the conversion, (0, 1]; the shares of one conversion add up to 1.',
    `value_micros` Float64 COMMENT 'Share of its value, micro-units.'
)
AS SELECT tenant, profile_id, event_id, order_id, converted_at, decision_id, playbook, arm, channel,
       touched_at, 1. / count() OVER (PARTITION BY tenant, profile_id, event_id) AS credit,
       touches.value_micros / count() OVER (PARTITION BY tenant, profile_id, event_id) AS value_micros
FROM attribution_touches AS touches
COMMENT 'Each conversion shared evenly among the messages before it. Credit is not cause: compare with the view arms.';

CREATE OR REPLACE VIEW accounting
(
    `tenant` String COMMENT 'Whose data this is. Empty: could not be read.',
    `admitted` UInt64 COMMENT 'Records that became an event.',
    `refused` UInt64 COMMENT 'Records refused with a reason.',
    `quarantined` UInt64 COMMENT 'Records that could not be understood.',
    `duplicate` UInt64 COMMENT 'Repeats of an event id within the window.',
    `control` UInt64 COMMENT 'Clock events, which only move a clock.'
)
AS SELECT tenant, countIf(outcome = 'admitted') AS admitted, countIf(outcome = 'refused') AS refused,
       countIf(outcome = 'quarantined') AS quarantined,
       countIf(outcome = 'duplicate') AS duplicate, countIf(outcome = 'control') AS control
FROM (
    SELECT toString(tenant) AS tenant, 'admitted' AS outcome,
           toInt64(origin_partition) AS raw_partition, toInt64(origin_offset) AS raw_offset
    FROM events
    UNION DISTINCT
    SELECT toString(tenant),
           if(outcome IN ('refused', 'duplicate'), toString(outcome), 'control'),
           toInt64(partition), toInt64(offset)
    FROM refusals WHERE stage = 'admit' AND topic = 'events.raw' AND outcome != 'quarantined'
    UNION DISTINCT
    SELECT '', 'quarantined', toInt64(partition), toInt64(offset)
    FROM quarantined WHERE stage = 'admit' AND topic = 'events.raw'
)
GROUP BY tenant
COMMENT 'What became of every record of events.raw, by tenant; those that could not be read have tenant \'\'.';

CREATE OR REPLACE VIEW accounting_total
(
    `produced` UInt64 COMMENT 'Records ever produced to events.raw, from Kafka\'s own offsets.',
    `admitted` UInt64 COMMENT 'Records that became an event.',
    `refused` UInt64 COMMENT 'Records refused with a reason.',
    `quarantined` UInt64 COMMENT 'Records that could not be understood.',
    `duplicate` UInt64 COMMENT 'Repeats of an event id within the window.',
    `control` UInt64 COMMENT 'Clock events, which only move a clock.',
    `unaccounted` Int64 COMMENT 'Produced, but not yet seen in any other column; negative while the look at Kafka is older.'
)
AS SELECT ends.produced AS produced, outcomes.admitted AS admitted, outcomes.refused AS refused,
       outcomes.quarantined AS quarantined, outcomes.duplicate AS duplicate,
       outcomes.control AS control,
       toInt64(ends.produced) - toInt64(outcomes.admitted + outcomes.refused
           + outcomes.quarantined + outcomes.duplicate + outcomes.control) AS unaccounted
FROM (
    SELECT sum(end_offset) AS produced FROM topic_ends FINAL WHERE topic = 'events.raw'
) AS ends
CROSS JOIN (
    SELECT sum(admitted) AS admitted, sum(refused) AS refused, sum(quarantined) AS quarantined,
           sum(duplicate) AS duplicate, sum(control) AS control
    FROM accounting
) AS outcomes
COMMENT 'The accounting identity over all tenants: produced = admitted + refused + quarantined + duplicate + control + unaccounted, and unaccounted is 0 once everything is read.';

CREATE OR REPLACE VIEW cost_per_thousand
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `playbook` LowCardinality(String) COMMENT 'Playbook.',
    `messages` UInt64 COMMENT 'Messages that were ready to send.',
    `calls` UInt64 COMMENT 'Model calls.',
    `cost_usd_micros` Int64 COMMENT 'Cost of all calls, micro-dollars.',
    `usd_per_thousand_messages` Float64 COMMENT 'US dollars per thousand ready messages; 0 while there is none.'
)
AS SELECT tenant, playbook, sum(made) AS messages, sum(calls) AS calls,
       sum(micros) AS cost_usd_micros,
       if(messages = 0, 0., cost_usd_micros / 1000. / messages) AS usd_per_thousand_messages
FROM (
    SELECT toString(tenant) AS tenant, toString(playbook) AS playbook, 1 AS made, 0 AS calls,
           toInt64(0) AS micros
    FROM messages
    UNION ALL
    SELECT toString(tenant), toString(playbook), 0, 1, cost_usd_micros FROM costs
)
GROUP BY tenant, playbook
COMMENT 'What messages cost, model calls that failed included.';

CREATE OR REPLACE VIEW latency
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `messages` UInt64 COMMENT 'Messages ready.',
    `p50_ms` Int64 COMMENT 'Half of them were ready within this, milliseconds.',
    `p90_ms` Int64 COMMENT 'Nine in ten were.',
    `p99_ms` Int64 COMMENT 'Ninety-nine in a hundred were.',
    `max_ms` Int64 COMMENT 'The slowest.'
)
AS SELECT tenant, count() AS messages, quantileExact(0.5)(took_ms) AS p50_ms,
       quantileExact(0.9)(took_ms) AS p90_ms, quantileExact(0.99)(took_ms) AS p99_ms,
       max(took_ms) AS max_ms
FROM (SELECT tenant, ready_ms - trigger_appended_ms AS took_ms FROM messages)
GROUP BY tenant
COMMENT 'How long a message takes, from its event in Kafka until it is ready; decisions caused by a timer count from the record that moved the clock.';

CREATE OR REPLACE VIEW landed
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic.',
    `batches` UInt64 COMMENT 'Batches, each one block.',
    `rows` UInt64 COMMENT 'Rows that landed, repeats included.',
    `poison_rows` UInt64 COMMENT 'Records that could not be landed; they are in quarantined.',
    `control_rows` UInt64 COMMENT 'Watermarks and tombstones.',
    `newest_at` DateTime64(3, 'UTC') COMMENT 'When the newest batch came in.'
)
AS SELECT topic, count() AS batches, sum(done.rows) AS rows, sum(done.poison_rows) AS poison_rows,
       sum(done.control_rows) AS control_rows, max(done.inserted_at) AS newest_at
FROM sink_batches AS done FINAL
GROUP BY topic
COMMENT 'What the sink has brought into ClickHouse, by topic.';
