-- Events per second: admitted events divided by busy seconds, the wall-clock seconds in which admit
-- wrote at least one. A road that waits for its producers is not thereby slow.
SELECT count() AS events, uniqExact(intDiv(written_ms, 1000)) AS busy_s,
       round(count() / greatest(uniqExact(intDiv(written_ms, 1000)), 1), 1) AS events_per_s
FROM (
    SELECT min(_appended_ms) AS written_ms
    FROM raw_events_admitted
    GROUP BY origin_partition, origin_offset
)
