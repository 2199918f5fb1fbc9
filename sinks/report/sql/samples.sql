-- A few messages as they were ready; names and addresses are bound at the exit, so none is here.
SELECT tenant AS world, playbook, rung, arm, subject, body, decision_id
FROM messages
ORDER BY world, playbook, rung, cityHash64(decision_id)
LIMIT 1 BY world, playbook, rung
LIMIT 12
