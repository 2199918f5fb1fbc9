-- Segments the person entered or left.
SELECT event_ms, segment, entered, cause
FROM segment_changes WHERE profile_id = {profile:String} ORDER BY event_ms, segment
