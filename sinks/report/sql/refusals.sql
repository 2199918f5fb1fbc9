-- Why something did not go on, by stage. Quarantined bytes are counted with their reason too.
SELECT tenant AS world, stage, outcome, reason, field, count() AS records
FROM (
    SELECT toString(tenant) AS tenant, toString(stage) AS stage, toString(outcome) AS outcome,
           toString(reason) AS reason, toString(field) AS field
    FROM refusals WHERE outcome != 'control' AND reason != 'clock'
    UNION ALL
    SELECT '', toString(stage), 'quarantined', toString(reason), toString(field) FROM quarantined
)
GROUP BY world, stage, outcome, reason, field
ORDER BY world, stage, records DESC, reason, field
