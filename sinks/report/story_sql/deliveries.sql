-- What happened at the exit.
SELECT decision_id, channel, status, reason, attempts, provider_id, sent_ms
FROM deliveries
WHERE profile_id = {profile:String} AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY dispatched_ms
