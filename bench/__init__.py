"""Benchmarks and the demonstration; run through `make bench` and `make demo`."""
