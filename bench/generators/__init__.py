"""The documents of the benchmarks: made here, to published shapes and counts, from one seed."""
