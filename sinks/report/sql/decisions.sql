-- What was decided, with the probability of having decided so (among those not held out).
SELECT tenant AS world, playbook, arm, countIf(NOT holdout) AS sent_on, countIf(holdout) AS held_out,
       round(avg(propensity), 4) AS propensity_mean, round(min(propensity), 4) AS propensity_min
FROM decisions
GROUP BY world, playbook, arm
ORDER BY world, playbook, arm
