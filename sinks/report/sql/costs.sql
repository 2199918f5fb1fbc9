-- What the messages cost, failed model calls included.
SELECT tenant AS world, sum(c.messages) AS messages, sum(c.calls) AS calls,
       sum(c.cost_usd_micros) AS cost_usd_micros
FROM cost_per_thousand AS c
GROUP BY world
ORDER BY world
