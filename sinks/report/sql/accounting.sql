-- What became of every record of events.raw. A repeat that choose found (admit had forgotten the
-- id, or the person has two sources) was admitted first: it counts as duplicate, not as admitted.
SELECT tenant AS world,
       toInt64(sum(found.admitted) - sum(found.repeats)) AS admitted,
       toInt64(sum(found.refused)) AS refused,
       toInt64(sum(found.quarantined)) AS quarantined,
       toInt64(sum(found.duplicate) + sum(found.repeats)) AS duplicate,
       toInt64(sum(found.control)) AS control
FROM (
    SELECT toString(tenant) AS tenant, toInt64(admitted) AS admitted, toInt64(refused) AS refused,
           toInt64(quarantined) AS quarantined, toInt64(duplicate) AS duplicate,
           toInt64(control) AS control, toInt64(0) AS repeats
    FROM accounting
    UNION ALL
    SELECT toString(tenant), 0, 0, 0, 0, 0, toInt64(uniqExact(`partition`, `offset`))
    FROM refusals
    WHERE stage = 'choose' AND outcome = 'duplicate' AND topic = 'events.admitted'
    GROUP BY tenant
) AS found
GROUP BY tenant
ORDER BY world
