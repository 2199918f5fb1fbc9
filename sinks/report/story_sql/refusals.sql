-- Why something was not said, or an event not used.
SELECT event_ms, stage, outcome, reason, field, detail, playbook, decision_id, recorded_ms
FROM refusals
WHERE profile_id = {profile:String}
  AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY event_ms, recorded_ms
