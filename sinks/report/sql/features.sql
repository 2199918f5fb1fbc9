-- How many decisions knew each feature of the person, how old that knowledge was, and for how many
-- the value mostly leaned on the person's segment or on everybody.
SELECT tenant AS world, name AS feature, count() AS decisions, countIf(known_here) AS known,
       countIf(level IN ('segment', 'global')) AS leaning,
       round(known / decisions, 4) AS coverage,
       if(known = 0, NULL, toInt64(quantileExactIf(0.5)(age_ms, known_here))) AS age_ms_p50
FROM (
    SELECT tenant, pair.1 AS name, JSONExtractInt(pair.2, 'age_ms') AS age_ms,
           JSONExtractString(pair.2, 'back_off', 'level') AS level,
           JSONExtractRaw(pair.2, 'value') NOT IN ('', 'null') AS known_here
    FROM decisions ARRAY JOIN JSONExtractKeysAndValuesRaw(features_json) AS pair
    WHERE JSONHas(pair.2, 'value')      -- things that the decision is about stand there as well
)
GROUP BY world, feature
ORDER BY world, coverage DESC, feature
