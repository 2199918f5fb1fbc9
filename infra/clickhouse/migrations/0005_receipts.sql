-- Receipts that name a decision which never was are left out of the view and counted apart.
CREATE OR REPLACE VIEW receipts
(
    `receipt_id` String COMMENT 'Deterministic id.',
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `channel` LowCardinality(String) COMMENT 'Channel.',
    `kind` LowCardinality(String) COMMENT 'delivered, opened, clicked, bounced, unsubscribed or complained.',
    `event_ms` Int64 COMMENT 'Tenant\'s time.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `machine` Bool COMMENT 'True: probably not a person (scanner, prefetch); never learnt from.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'Tenant\'s time, as a time.',
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'Wall clock, as a time.'
)
AS SELECT `receipt_id`, `decision_id`, `tenant`, `profile_id`, `channel`, `kind`, `event_ms`, `recorded_ms`, `machine`, `event_at`, `recorded_at`
FROM raw_receipts_received
WHERE (tenant, decision_id) IN (SELECT tenant, decision_id FROM raw_decisions_made)
ORDER BY tenant, receipt_id, _partition, _offset
LIMIT 1 BY tenant, receipt_id
COMMENT 'What a channel or a person did with a message.';

CREATE OR REPLACE VIEW receipts_unknown
(
    `tenant` LowCardinality(String) COMMENT 'Whose data it says it is.',
    `channel` LowCardinality(String) COMMENT 'Channel.',
    `kind` LowCardinality(String) COMMENT 'delivered, opened, clicked, bounced, unsubscribed or complained.',
    `receipts` UInt64 COMMENT 'Receipts whose decision is not among ours; for moments also those whose decision has not landed yet.'
)
AS SELECT tenant, channel, kind, uniqExact(receipt_id) AS receipts
FROM raw_receipts_received
WHERE (tenant, decision_id) NOT IN (SELECT tenant, decision_id FROM raw_decisions_made)
GROUP BY tenant, channel, kind
COMMENT 'Receipts that name a decision which never was: whoever may report receipts can make them up. No other view counts them.';
