-- What the sink knows of its own work: which offset ranges are in, and how much Kafka has.
CREATE TABLE IF NOT EXISTS sink_batches
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic',
    `topic_id` LowCardinality(String) COMMENT 'Kafka\'s id of the topic; changes when the topic is deleted and made again',
    `partition` UInt32 COMMENT 'Kafka partition',
    `first_offset` UInt64 COMMENT 'First offset of the batch; the last of the batch before, plus one',
    `last_offset` UInt64 COMMENT 'Last offset of the batch',
    `rows` UInt64 COMMENT 'Rows that landed',
    `poison_rows` UInt64 COMMENT 'Records that could not be decoded or that ClickHouse refused',
    `control_rows` UInt64 COMMENT 'Watermarks and tombstones: read, and rightly not landed',
    `token` String COMMENT 'Deduplication token of the batch\'s insert',
    `inserted_at` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the batch was entered here'
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (topic, topic_id, partition, first_offset, last_offset)
COMMENT 'Ledger of the sink: one row per batch of offsets; read it with FINAL, as a crash may repeat a row';

CREATE TABLE IF NOT EXISTS topic_ends
(
    `topic` LowCardinality(String) COMMENT 'Kafka topic',
    `partition` UInt32 COMMENT 'Kafka partition',
    `begin_offset` UInt64 COMMENT 'Oldest offset that Kafka still holds',
    `end_offset` UInt64 COMMENT 'Offset that the next record will get: how many were ever produced',
    `as_of_ms` Int64 COMMENT 'Wall clock of the look, milliseconds since 1970 UTC'
)
ENGINE = ReplacingMergeTree(as_of_ms)
ORDER BY (topic, partition)
COMMENT 'How far Kafka\'s partitions reach, as the sink last saw; read it with FINAL';
