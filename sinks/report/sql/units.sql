-- The units of the experiment: each person's first decision of each playbook, once its window is
-- closed; converted: whether a conversion followed within the window. Everybody counts as assigned,
-- whether or not the message arrived (intention to treat).
SELECT first.tenant AS world, first.playbook AS playbook,
       toInt64(cityHash64(first.profile_id) % 9007199254740993) AS person,
       first.holdout AS held_out, first.holdout_probability AS holdout_probability,
       first.moment_ms AS moment_ms, outcome.converted AS converted,
       outcome.value_micros AS value_micros
FROM (
    SELECT toString(made.tenant) AS tenant, toString(made.playbook) AS playbook, profile_id,
           argMin(made.decision_id, (made.moment_ms, made.decision_id)) AS decision_id,
           argMin(made.holdout, (made.moment_ms, made.decision_id)) AS holdout,
           argMin(made.holdout_probability, (made.moment_ms, made.decision_id))
               AS holdout_probability,
           min(made.moment_ms) AS moment_ms
    FROM decisions AS made
    GROUP BY tenant, playbook, profile_id
) AS first
INNER JOIN (
    SELECT decision_id, countIf(kind = 'converted') > 0 AS converted,
           sum(r.value_micros) AS value_micros
    FROM rewards AS r
    GROUP BY decision_id
    HAVING countIf(kind = 'closed') > 0
) AS outcome ON outcome.decision_id = first.decision_id
ORDER BY world, playbook, person
