-- Receipts that name a decision which never was; they count nowhere else.
SELECT tenant AS world, channel, kind, unknown.receipts AS receipts
FROM receipts_unknown AS unknown
ORDER BY world, receipts DESC, channel, kind
