-- Decisions whose conversion window is still open; they are left out of every comparison.
SELECT tenant AS world, count() AS decisions,
       countIf(decision_id NOT IN (SELECT decision_id FROM rewards WHERE kind = 'closed')) AS open
FROM decisions
GROUP BY world
ORDER BY world
