-- Moments of need that led to a decision, hold-outs included.
SELECT tenant AS world, trigger, playbook, count() AS decisions,
       uniqExact(profile_id) AS people, countIf(holdout) AS held_out
FROM decisions
GROUP BY world, trigger, playbook
ORDER BY world, decisions DESC, playbook
