"""Measurements: run with `make bench`, or one by one with `python -m benchmarks.NAME`."""
