-- Every model call for these decisions.
SELECT decision_id, rung, model, result, tokens_in, tokens_out, cost_usd_micros, took_ms
FROM costs
WHERE decision_id IN (SELECT decision_id FROM decisions WHERE profile_id = {profile:String})
  AND ({decision:String} = '' OR decision_id = {decision:String})
ORDER BY recorded_ms
