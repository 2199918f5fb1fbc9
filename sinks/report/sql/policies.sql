-- What has been learnt of each arm so far, from closed windows of sent messages.
SELECT tenant AS world, playbook, arm, trials, successes,
       round(successes / greatest(trials, 1), 4) AS rate
FROM policies
WHERE segment = '*' AND trials > 0
ORDER BY world, playbook, rate DESC
