-- The same in doubling buckets: how many messages took up to so many milliseconds.
SELECT tenant AS world, toInt64(pow(2, ceil(log2(greatest(ready_ms - trigger_appended_ms, 1)))))
           AS up_to_ms, count() AS messages
FROM messages
GROUP BY world, up_to_ms
ORDER BY world, up_to_ms
