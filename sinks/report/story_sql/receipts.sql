-- What came back.
SELECT decision_id, kind, event_ms, machine
FROM receipts
WHERE profile_id = {profile:String} AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY event_ms, kind
