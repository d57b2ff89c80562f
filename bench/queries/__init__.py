"""Texts of queries that benchmarks ask."""
