-- Who wrote the messages, and what that cost.
SELECT tenant AS world, rung, model, count() AS messages,
       sum(m.cost_usd_micros) AS cost_usd_micros,
       sum(m.tokens_in) AS tokens_in, sum(m.tokens_out) AS tokens_out
FROM messages AS m
GROUP BY world, rung, model
ORDER BY world, messages DESC, rung
