-- From the record that caused the moment standing in Kafka, to the message ready to leave.
-- The row with world '' is all of them together.
SELECT world, count() AS messages, quantileExact(0.5)(took_ms) AS p50,
       quantileExact(0.9)(took_ms) AS p90, quantileExact(0.99)(took_ms) AS p99,
       max(took_ms) AS slowest
FROM (
    SELECT arrayJoin([toString(tenant), '']) AS world, ready_ms - trigger_appended_ms AS took_ms
    FROM messages
)
GROUP BY world
ORDER BY world
