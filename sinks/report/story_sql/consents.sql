-- What the person agreed to, the newest word on each purpose.
SELECT purpose, granted, event_ms, origin, evidence
FROM consents WHERE profile_id = {profile:String} ORDER BY purpose
