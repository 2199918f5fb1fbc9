"""The report: what happened, whether it helped, and the SQL that says so."""
