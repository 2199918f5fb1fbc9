"""`make bench-signal`: Kairos beside other stream engines on one broker, equal outputs checked."""
