-- Whose story: the id given is a decision's or a profile's.
SELECT tenant AS world, profile_id, decision_id FROM decisions WHERE decision_id = {id:String}
UNION ALL
SELECT tenant, profile_id, '' FROM events WHERE profile_id = {id:String} LIMIT 1
UNION ALL
SELECT tenant, profile_id, '' FROM decisions WHERE profile_id = {id:String} LIMIT 1
UNION ALL
SELECT tenant, profile_id, '' FROM consents WHERE profile_id = {id:String} LIMIT 1
UNION ALL
SELECT tenant, profile_id, '' FROM refusals WHERE profile_id = {id:String} LIMIT 1
