-- Shares of groups: rows of segments, of everybody, of items. `segment` is part of the sort key already;
-- the kind of a group need not be, as shares are few.
ALTER TABLE raw_segments_rolled
    ADD COLUMN IF NOT EXISTS `entity` LowCardinality(String) DEFAULT 'segment' COMMENT 'What kind of group: segment, item, category, campaign or a property\'s name.' AFTER `recorded_ms`,
    ADD COLUMN IF NOT EXISTS `epoch` Int64 COMMENT 'The owner\'s epoch: a share of an older epoch than another\'s came late.' AFTER `entity`,
    ADD COLUMN IF NOT EXISTS `row_bytes` UInt32 COMMENT 'Size of `row`, which stays in Kafka: it may hold personal data.' AFTER `epoch`,
    COMMENT COLUMN `segment` 'The group\'s name: the segment, \'\' for everybody, or the item, category, campaign.',
    COMMENT COLUMN `members` 'People in it now; of an item and the like, people heard of with it.',
    COMMENT COLUMN `sums_json` '{feature: sum over the group}, of those that add up: counts, sums, rates, decays. Read it with JSONExtract(sums_json, \'Map(String, Float64)\').';

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
    `row_bytes` UInt32 COMMENT 'Size of `row`, which stays in Kafka: it may hold personal data.',
    `event_at` DateTime64(3, 'UTC') COMMENT 'Event time of the share, as a time.',
    `recorded_at` DateTime64(3, 'UTC') COMMENT 'Wall clock, as a time.'
)
AS SELECT `tenant`, `segment`, `partition`, `members`, `sums_json`, `event_ms`, `recorded_ms`, `entity`, `epoch`, `row_bytes`, `event_at`, `recorded_at`
FROM raw_segments_rolled
ORDER BY tenant, segment, partition, entity, _offset DESC
LIMIT 1 BY tenant, segment, partition, entity
COMMENT 'One partition\'s share of a group\'s rolling features: a segment\'s, everybody\'s, an item\'s. Compacted.';

CREATE TABLE IF NOT EXISTS segment_floor
(
    `members_min` UInt32 COMMENT 'Groups of fewer people are not shown: KAIROS_SEGMENT_MEMBERS_MIN, as the sink was started with',
    `noted_at` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the sink said so'
)
ENGINE = MergeTree ORDER BY noted_at
COMMENT 'How many people a group must have before views show it; the newest row counts';

CREATE OR REPLACE VIEW segment_sizes
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `segment` LowCardinality(String) COMMENT 'Segment; \'\' is everybody.',
    `members` Int64 COMMENT 'Members now; a segment of fewer than KAIROS_SEGMENT_MEMBERS_MIN is not in this view.',
    `sums` Map(String, Float64) COMMENT 'What the members did while they were in it, by feature, of those that add up; divided by members: per head.',
    `as_of_at` DateTime64(3, 'UTC') COMMENT 'Event time of the newest share.'
)
AS SELECT tenant, segment, sum(shares.members) AS members,
       sumMap(JSONExtract(shares.sums_json, 'Map(String, Float64)')) AS sums,
       max(shares.event_at) AS as_of_at
FROM segment_shares AS shares
WHERE shares.entity = 'segment'
GROUP BY tenant, segment
HAVING members >= (SELECT if(count() = 0, 20, argMax(members_min, noted_at)) FROM segment_floor)
COMMENT 'Members and summed features of each segment now, all partitions together; small ones are left out.';
