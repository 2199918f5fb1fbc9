-- Decisions about this person; of one of them when its id is given.
SELECT *
FROM decisions
WHERE profile_id = {profile:String} AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY moment_ms, decision_id
