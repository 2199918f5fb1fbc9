"""The questions of the report, one file each."""
