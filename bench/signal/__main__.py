"""`make bench-signal`: Kairos beside other stream engines; writes bench/RESULTS.md."""

from bench.signal.table import main

main()
