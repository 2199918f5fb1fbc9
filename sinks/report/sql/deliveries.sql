-- What happened at the exit.
SELECT tenant AS world, channel, status, reason, count() AS deliveries
FROM deliveries
GROUP BY world, channel, status, reason
ORDER BY world, deliveries DESC, channel, status, reason
