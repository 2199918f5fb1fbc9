-- Items and other things that events name, as far as all partitions together may speak of them.
CREATE OR REPLACE VIEW things
(
    `tenant` LowCardinality(String) COMMENT 'Whose data this is.',
    `entity` LowCardinality(String) COMMENT 'item, category, campaign or property.NAME.',
    `name` LowCardinality(String) COMMENT 'Which one.',
    `people` Int64 COMMENT 'People heard of with it, about; of fewer than KAIROS_SEGMENT_MEMBERS_MIN it is not in this view.',
    `sums` Map(String, Float64) COMMENT 'Its features now, of those that add up over partitions.',
    `as_of_at` DateTime64(3, 'UTC') COMMENT 'Event time of the newest share.'
)
AS SELECT tenant, entity, segment AS name, sum(shares.members) AS people,
       sumMap(JSONExtract(shares.sums_json, 'Map(String, Float64)')) AS sums,
       max(shares.event_at) AS as_of_at
FROM segment_shares AS shares
WHERE shares.entity != 'segment'
GROUP BY tenant, entity, name
HAVING people >= (SELECT if(count() = 0, 20, argMax(members_min, noted_at)) FROM segment_floor)
COMMENT 'Items, categories, campaigns and properties with declared features, all partitions together; the hottest of them.';
