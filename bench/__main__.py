"""`make bench`: everything that prints a figure we publish."""

from bench.road import main

main()
