-- What followed within the window.
SELECT decision_id, kind, event_id, order_id, value_micros, event_ms
FROM rewards
WHERE profile_id = {profile:String} AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY event_ms, kind DESC
