-- A share says up to where it heard and what its features came to, so that it can be counted anew.
ALTER TABLE raw_segments_rolled
    ADD COLUMN IF NOT EXISTS `heard` Int64 COMMENT 'The share is of the events of events.admitted before this offset of its partition; 0: not told.' AFTER `epoch`,
    ADD COLUMN IF NOT EXISTS `values_json` String COMMENT '{feature: {value, age_ms}} of the row as of event_ms: numbers only. Read it with JSONExtract(values_json, \'name\', \'value\', \'Nullable(Float64)\').' AFTER `heard`,
    ADD COLUMN IF NOT EXISTS `caveat` LowCardinality(String) COMMENT 'Why a recount of the events may differ: passed_on: some of a visitor\'s came or went; let_go: colder things were dropped. Empty: it may not.' AFTER `values_json`,
    ADD COLUMN IF NOT EXISTS `changes` Int64 COMMENT 'Of a segment: comings and goings that were told of this partition\'s people, at least.' AFTER `caveat`;

CREATE OR REPLACE VIEW segment_shares
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is; part of every key.',
    `segment` LowCardinality(String) COMMENT 'The group\'s name: the segment, \'\' for everybody, or the item, category, campaign.',
    `partition` Int32 COMMENT 'Partition whose share this is.',
    `members` Int64 COMMENT 'People in it now; of an item and the like, people heard of with it.',
    `sums_json` String COMMENT '{feature: sum over the group}, of those that add up: counts, sums, rates, decays. Read it with JSONExtract(sums_json, \'Map(String, Float64)\').',
    `event_ms` Int64 COMMENT 'Event time of the share.',
    `recorded_ms` Int64 COMMENT 'Wall clock.',
    `entity` LowCardinality(String) COMMENT 'What kind of group: segment, item, category, campaign or a property\'s name.',
    `epoch` Int64 COMMENT 'The owner\'s epoch: a share of an older epoch than another\'s came late.',
    `heard` Int64 COMMENT 'The share is of the events of events.admitted before this offset of its partition; 0: not told.',
    `values_json` String COMMENT '{feature: {value, age_ms}} of the row as of event_ms: numbers only. Read it with JSONExtract(values_json, \'name\', \'value\', \'Nullable(Float64)\').',
    `caveat` LowCardinality(String) COMMENT 'Why a recount of the events may differ: passed_on: some of a visitor\'s came or went; let_go: colder things were dropped. Empty: it may not.',
    `changes` Int64 COMMENT 'Of a segment: comings and goings that were told of this partition\'s people, at least.',
    `row_bytes` UInt32 COMMENT 'Size of `row`, which stays in Kafka: it may hold personal data.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'Event time of the share, as a time.',
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'Wall clock, as a time.'
)
AS SELECT `tenant`, `segment`, `partition`, `members`, `sums_json`, `event_ms`, `recorded_ms`, `entity`, `epoch`, `heard`, `values_json`, `caveat`, `changes`, `row_bytes`, `event_at`, `recorded_at`
FROM raw_segments_rolled
ORDER BY tenant, segment, partition, entity, _offset DESC
LIMIT 1 BY tenant, segment, partition, entity
COMMENT 'One partition\'s share of a group\'s rolling features: a segment\'s, everybody\'s, an item\'s. Compacted.';
