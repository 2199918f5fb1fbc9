-- Counts of items that messages could state (their briefs had the sentence), and did. Where the
-- grammar wrote, chance decided which did, among as many `choices`: so of these messages, those
-- without the sentence are the comparison; counted are those whose window is closed.
SELECT told.tenant AS world, told.playbook AS playbook, told.figure AS figure,
       told.choices AS choices, count() AS could, countIf(stated) AS did,
       minIf(value, stated) AS lowest, maxIf(value, stated) AS highest,
       maxIf(moment_ms - as_of_ms, stated) AS oldest_ms,
       countIf(drawn AND stated) AS with_it, countIf(drawn AND stated AND converted) AS with_converted,
       countIf(drawn AND NOT stated) AS without_it,
       countIf(drawn AND NOT stated AND converted) AS without_converted
FROM (
    SELECT toString(m.tenant) AS tenant, toString(m.playbook) AS playbook, m.decision_id AS decision_id,
           figure, m.moment_ms AS moment_ms,
           JSONLength(m.brief_json, 'figures') + JSONLength(m.brief_json, 'claims') AS choices,
           JSONHas(m.facts_json, figure) AS stated,
           toInt64OrZero(JSONExtractString(m.facts_json, figure, 'value')) AS value,
           JSONExtractInt(m.facts_json, figure, 'as_of') AS as_of_ms,
           m.rung = 'grammar' AND outcome.closed AS drawn, outcome.converted AS converted
    FROM messages AS m
    ARRAY JOIN JSONExtractKeys(m.brief_json, 'figures') AS figure
    LEFT JOIN (
        SELECT decision_id, countIf(kind = 'closed') > 0 AS closed,
               countIf(kind = 'converted') > 0 AS converted
        FROM rewards
        GROUP BY decision_id
    ) AS outcome ON outcome.decision_id = m.decision_id
) AS told
GROUP BY world, playbook, figure, choices
ORDER BY world, playbook, figure, choices
