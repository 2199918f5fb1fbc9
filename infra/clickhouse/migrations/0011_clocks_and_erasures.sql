-- An event from the future is admitted as of its tenant's present and told as `clamped`. Its one
-- outcome is another row, so these rows are not counted.
ALTER TABLE raw_refusals_recorded COMMENT COLUMN `outcome` 'refused, duplicate, skipped, late, clamped or control.';
-- People who ask to be forgotten leave their segments, and have agreed to nothing any more.
ALTER TABLE raw_segments_changed COMMENT COLUMN `cause` 'event, lapse, merge, backfill or erasure.';
ALTER TABLE raw_consents_changed COMMENT COLUMN `origin` 'event, unsubscribe, complaint, bounce or erasure.';

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
    FROM refusals WHERE stage = 'admit' AND topic = 'events.raw'
      AND outcome NOT IN ('quarantined', 'clamped')
    UNION DISTINCT
    SELECT '', 'quarantined', toInt64(partition), toInt64(offset)
    FROM quarantined WHERE stage = 'admit' AND topic = 'events.raw'
)
GROUP BY tenant
COMMENT 'What became of every record of events.raw, by tenant; those that could not be read have tenant \'\'.';

CREATE OR REPLACE VIEW refusals
(
    `refusal_id` String COMMENT 'Deterministic id.',
    `stage` LowCardinality(String) COMMENT 'admit, choose, compose, deliver, sink.',
    `outcome` LowCardinality(String) COMMENT 'refused, duplicate, skipped, late, clamped or control.',
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
    `cause` LowCardinality(String) COMMENT 'event, lapse, merge, backfill or erasure.',
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
    `origin` LowCardinality(String) COMMENT 'event, unsubscribe, complaint, bounce or erasure.',
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
