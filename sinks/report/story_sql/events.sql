-- The newest events of this person up to the moment asked about.
SELECT event_ms, event_type, item_id, cart_id, order_id, value_micros, event_id
FROM events
WHERE profile_id = {profile:String} AND event_ms <= {until_ms:Int64}
ORDER BY event_ms DESC, event_id
LIMIT {limit:UInt32}
