-- What was written, and how.
SELECT * FROM messages
WHERE profile_id = {profile:String} AND ({decision:String} = '' OR decision_id = {decision:String})
