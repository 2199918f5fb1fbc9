-- Columns that list what they may hold list all of it.
ALTER TABLE raw_decisions_made COMMENT COLUMN `trigger` 'event, edge, absence, recency, score, segment, sequence, schedule, date, back_in_stock or price_drop.';
ALTER TABLE raw_refusals_recorded COMMENT COLUMN `outcome` 'refused, duplicate, skipped, late or control.';
ALTER TABLE raw_segments_changed COMMENT COLUMN `cause` 'event, lapse, merge or backfill.';
ALTER TABLE raw_consents_changed COMMENT COLUMN `origin` 'event, unsubscribe, complaint or bounce.';

CREATE OR REPLACE VIEW decisions
(
    `decision_id` String COMMENT 'Id of the decision, the one id from trigger to conversion.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `playbook` LowCardinality(String) COMMENT 'Playbook name.',
    `playbook_version` Int32 COMMENT 'Version in force.',
    `trigger` LowCardinality(String) COMMENT 'event, edge, absence, recency, score, segment, sequence, schedule, date, back_in_stock or price_drop.',
    `trigger_event_id` String COMMENT 'Event that caused the moment.',
    `object_id` String COMMENT 'Cart, item or order the moment is about, or empty.',
    `moment_ms` Int64 COMMENT 'The moment, in the tenant\'s time.',
    `useful_until_ms` Int64 COMMENT 'After this the message is dropped.',
    `window_ms` Int64 COMMENT 'Conversion window after the moment.',
    `conversion` LowCardinality(String) COMMENT 'Event type that counts as conversion.',
    `value_micros` Int64 COMMENT 'Value of a conversion to the playbook, 0: the purchase\'s own value.',
    `holdout` Bool COMMENT 'True: nothing is sent, the person is the comparison.',
    `arm` LowCardinality(String) COMMENT 'Variant chosen; for a hold-out the one that would have been.',
    `propensity` Float64 COMMENT 'Probability of `arm` given not held out, (0, 1].',
    `propensities_json` String COMMENT 'The whole vector, {arm: probability}. Read it with JSONExtract(propensities_json, \'Map(String, Float64)\').',
    `holdout_probability` Float64 COMMENT 'Probability of being held out, [0, 1).',
    `policy_version` LowCardinality(String) COMMENT 'Policy that gave the vector.',
    `segment` LowCardinality(String) COMMENT 'Segment cell the policy was read at.',
    `segments_json` String COMMENT 'All segments the person was in, JSON list. Read it with JSONExtract(segments_json, \'Array(String)\').',
    `features_json` String COMMENT 'Feature snapshot {name: {value, age_ms}} at the moment. Read it with JSONExtractFloat(features_json, \'name\', \'value\').',
    `evidence_json` String COMMENT 'Events and values that fired the trigger. Read it with JSONExtractRaw(evidence_json).',
    `item_ids_json` String COMMENT 'Items the message is about, most important first, JSON list. Read it with JSONExtract(item_ids_json, \'Array(String)\').',
    `purposes` Int32 COMMENT 'Purposes in force at the decision.',
    `channel` LowCardinality(String) COMMENT 'Channel chosen.',
    `locale` LowCardinality(String) COMMENT 'Locale of the message.',
    `trigger_appended_ms` Int64 COMMENT 'Broker time of the record that caused the moment; latency starts here.',
    `decided_ms` Int64 COMMENT 'Wall clock of the decision.',
    `origin_partition` Int32 COMMENT 'Partition of events.admitted.',
    `origin_offset` Int64 COMMENT 'Offset that caused it.',
    `origin_sequence` Int32 COMMENT 'Emission number within that offset.',
    `moment_at` DateTime64(3, 'UTC') COMMENT 'The moment, in the tenant\'s time, as a time.',
    `useful_until_at` DateTime64(3, 'UTC') COMMENT 'After this the message is dropped, as a time.',
    `trigger_appended_at` DateTime64(3, 'UTC') COMMENT 'Broker time of the record that caused the moment; latency starts here, as a time.',
    `decided_at` DateTime64(3, 'UTC') COMMENT 'Wall clock of the decision, as a time.'
)
AS SELECT `decision_id`, `tenant`, `profile_id`, `playbook`, `playbook_version`, `trigger`, `trigger_event_id`, `object_id`, `moment_ms`, `useful_until_ms`, `window_ms`, `conversion`, `value_micros`, `holdout`, `arm`, `propensity`, `propensities_json`, `holdout_probability`, `policy_version`, `segment`, `segments_json`, `features_json`, `evidence_json`, `item_ids_json`, `purposes`, `channel`, `locale`, `trigger_appended_ms`, `decided_ms`, `origin_partition`, `origin_offset`, `origin_sequence`, `moment_at`, `useful_until_at`, `trigger_appended_at`, `decided_at`
FROM raw_decisions_made
ORDER BY tenant, decision_id, _partition, _offset
LIMIT 1 BY tenant, decision_id
COMMENT 'One moment of need and what was decided, hold-outs included, with the probability of having decided so.';

CREATE OR REPLACE VIEW refusals
(
    `refusal_id` String COMMENT 'Deterministic id.',
    `stage` LowCardinality(String) COMMENT 'admit, choose, compose, deliver, sink.',
    `outcome` LowCardinality(String) COMMENT 'refused, duplicate, skipped, late or control.',
    `reason` LowCardinality(String) COMMENT 'Stable reason code.',
    `field` LowCardinality(String) COMMENT 'The field at fault, or empty.',
    `detail` String COMMENT 'What was wrong with it, without personal data.',
    `tenant` LowCardinality(String) COMMENT 'Tenant, when it could be read.',
    `source` LowCardinality(String) COMMENT 'Producer, when it could be read.',
    `event_id` String COMMENT 'Event concerned, or empty.',
    `profile_id` String COMMENT 'Profile concerned, or empty.',
    `decision_id` String COMMENT 'Decision concerned, or empty.',
    `playbook` LowCardinality(String) COMMENT 'Playbook concerned, or empty.',
    `topic` LowCardinality(String) COMMENT 'Topic of the record that was refused.',
    `partition` Int32 COMMENT 'Partition of it.',
    `offset` Int64 COMMENT 'Offset of it; replay reads it again from there.',
    `event_ms` Int64 COMMENT 'Event time, 0 when unknown.',
    `recorded_ms` Int64 COMMENT 'Wall clock of the refusal.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'Event time, 0 when unknown, as a time.',
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'Wall clock of the refusal, as a time.'
)
AS SELECT `refusal_id`, `stage`, `outcome`, `reason`, `field`, `detail`, `tenant`, `source`, `event_id`, `profile_id`, `decision_id`, `playbook`, `topic`, `partition`, `offset`, `event_ms`, `recorded_ms`, `event_at`, `recorded_at`
FROM raw_refusals_recorded
ORDER BY tenant, refusal_id, _partition, _offset
LIMIT 1 BY tenant, refusal_id
COMMENT 'Why something did not go on: one row for every refused, duplicate or skipped thing. Never a payload.';

CREATE OR REPLACE VIEW segment_changes
(
    `change_id` String COMMENT 'Deterministic id.',
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `segment` LowCardinality(String) COMMENT 'Segment.',
    `entered` Bool COMMENT 'True: entered, false: left.',
    `event_ms` Int64 COMMENT 'When it became true.',
    `cause` LowCardinality(String) COMMENT 'event, lapse, merge or backfill.',
    `origin_partition` Int32 COMMENT 'Partition.',
    `origin_offset` Int64 COMMENT 'Offset.',
    `origin_sequence` Int32 COMMENT 'Emission number.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'When it became true, as a time.'
)
AS SELECT `change_id`, `tenant`, `profile_id`, `segment`, `entered`, `event_ms`, `cause`, `origin_partition`, `origin_offset`, `origin_sequence`, `event_at`
FROM raw_segments_changed
ORDER BY tenant, change_id, _partition, _offset
LIMIT 1 BY tenant, change_id
COMMENT 'A person entered or left a segment.';

CREATE OR REPLACE VIEW consents
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `profile_id` String COMMENT 'Pseudonymous profile id: keyed HMAC of tenant and subject, 32 hex characters.',
    `purpose` LowCardinality(String) COMMENT 'measure, personalise, contact or train.',
    `granted` Bool COMMENT 'True: agreed. False: denied or withdrawn.',
    `event_ms` Int64 COMMENT 'When the person said so.',
    `origin` LowCardinality(String) COMMENT 'event, unsubscribe, complaint or bounce.',
    `basis` LowCardinality(String) COMMENT 'Lawful basis claimed.',
    `evidence` String COMMENT 'Event or decision id that proves it.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'When the person said so, as a time.',
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'Wall clock, as a time.'
)
AS SELECT `tenant`, `profile_id`, `purpose`, `granted`, `event_ms`, `origin`, `basis`, `evidence`, `recorded_ms`, `event_at`, `recorded_at`
FROM raw_consents_changed
ORDER BY tenant, profile_id, purpose, event_ms DESC, granted ASC, _offset DESC
LIMIT 1 BY tenant, profile_id, purpose
COMMENT 'One purpose of one person changed. Compacted by profile and purpose; the newest event time wins, and a denial wins a tie.';
