-- Drafts that a gate turned down, by rung, gate and reason; in the end another draft passed.
SELECT tenant AS world, JSONExtractString(attempt, 'rung') AS rung, verdict.1 AS gate,
       verdict.2 AS reason, count() AS drafts
FROM messages
ARRAY JOIN JSONExtractArrayRaw(gates_json) AS attempt
ARRAY JOIN JSONExtractKeysAndValues(attempt, 'gates', 'String') AS verdict
WHERE verdict.2 != 'ok'
GROUP BY world, rung, gate, reason
ORDER BY world, drafts DESC, rung, gate, reason
