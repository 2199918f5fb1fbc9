-- Admitted events in each wall-clock second, by world.
SELECT tenant AS world, intDiv(written_ms, 1000) AS second, count() AS events
FROM (
    SELECT any(tenant) AS tenant, min(_appended_ms) AS written_ms
    FROM raw_events_admitted
    GROUP BY origin_partition, origin_offset
)
GROUP BY world, second
ORDER BY second, world
