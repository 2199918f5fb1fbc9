-- decision_story: its column says of every kind of trigger what decisions says; the rest is as in 0004.

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
    `trigger` LowCardinality(String) COMMENT 'event, edge, absence, recency, score, segment, sequence, schedule, date, back_in_stock or price_drop.',
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
