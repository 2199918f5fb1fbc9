-- What came back, once per decision and kind; machines (scanners, prefetchers) stand apart.
-- Receipts that name a decision which never was are not among them: receipts_unknown.sql.
SELECT tenant AS world, channel, kind, uniqExactIf(decision_id, NOT machine) AS by_people,
       uniqExactIf(decision_id, machine) AS by_machines
FROM receipts
GROUP BY world, channel, kind
ORDER BY world, by_people DESC, kind
